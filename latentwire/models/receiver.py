"""The receiver: prompts, with or without soft tokens -> scores of choices, or text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from latentwire.core.errors import UsageError
from latentwire.models.attention_masks import PackedChoices, group_for_packing, packed_size
from latentwire.models.decoding import TextGeneration
from latentwire.models.forward import MAX_HEAD_POSITIONS, ForwardOutput
from latentwire.models.lm import Prompt

_MAX_PACKED_ROWS = 16  # per pass; rows of similar size need little padding
_MAX_BRANCHED = 64  # tokens of a row's choices that run in the same pass as the prompt


class Receiver(TextGeneration):
    """Frozen model that answers prompts, with or without soft tokens.

    Args:
        lm: Frozen model.
        reads: Form of the soft tokens. `embeddings`: input embeddings, which replace the mark in
            the prompt. `prefix`: packed keys and values of one position in all layers, which
            come before the whole prompt, at positions 0..k-1; the mark is removed.
    Source: for `prefix`, Li & Liang 2021, Prefix-Tuning, arXiv:2101.00190, section 4.
    """

    def answer_logits(
        self,
        prompts: Sequence[Prompt],
        answers: Sequence[Sequence[int]],
        soft: Float[Tensor, "b k dr"] | None,
    ) -> tuple[Float[Tensor, "b a v"], Tensor]:
        """Return the logits at the answer positions, for training. Gradients flow into `soft`.

        Args:
            prompts: One prompt per row.
            answers: Token ids of the correct answer, at least one per row.
            soft: Soft tokens of each row (see `reads`), or None.
        Returns: Logits of the last a positions, and targets (b, a), -100 where the answer of a
            row is shorter than a.
        Raises:
            ShapeError: If the soft tokens do not have the width that this receiver reads.
            UsageError: If a deep prefix and the tokens after it exceed the attention window.
        """
        hidden, targets = self.answer_hidden(prompts, answers, soft)
        return self.head(hidden), targets

    def answer_hidden(
        self,
        prompts: Sequence[Prompt],
        answers: Sequence[Sequence[int]],
        soft: Float[Tensor, "b k dr"] | None,
    ) -> tuple[Float[Tensor, "b a d"], Tensor]:
        """Same as `answer_logits`, but return last hidden states instead of logits."""
        longest = max(len(answer) for answer in answers)
        read = [answer[:-1] for answer in answers]
        hidden = self.run(prompts, soft, read, n_more=longest - 1, use_cache=False).hidden
        targets = torch.full((len(answers), longest), -100, dtype=torch.long)
        for i, answer in enumerate(answers):
            targets[i, longest - len(answer) :] = torch.tensor(answer)
        return hidden[:, -longest:], targets.to(hidden.device)

    def answer_nll(
        self, hidden: Float[Tensor, "b a d"], targets: Int[Tensor, "b a"]
    ) -> Float[Tensor, "b a"]:
        """Return the negative log-likelihood of `targets` in nats, 0 where a target is -100.

        Logits of at most MAX_HEAD_POSITIONS positions are in memory at once; the backward pass
        computes them again.
        """
        flat, wanted = hidden.flatten(0, 1), targets.flatten()
        if len(wanted) <= MAX_HEAD_POSITIONS:
            return self._nll(flat, wanted).view(targets.shape)
        parts = [
            checkpoint(self._nll, h, w, use_reentrant=False, preserve_rng_state=False)
            for h, w in zip(
                torch.split(flat, MAX_HEAD_POSITIONS), torch.split(wanted, MAX_HEAD_POSITIONS)
            )
        ]
        return torch.cat(parts).view(targets.shape)

    def _nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        logits = self.head(hidden[None])[0].float()
        return F.cross_entropy(logits, targets, ignore_index=-100, reduction="none")

    def compare_choices(
        self,
        prompts: Sequence[Prompt],
        choices: Sequence[Sequence[Sequence[int]]],
        soft: Float[Tensor, "b k dr"] | None,
    ) -> Float[Tensor, "b c"]:
        """Return scores of whole choices, for training. Gradients flow into `soft`.

        All choices of a row follow its prompt in one forward pass, as branches.

        Args:
            prompts: One prompt per row.
            choices: For each row the token ids of its choices.
            soft: Soft tokens of each row, or None.
        Returns: Summed log-likelihoods in nats plus an unknown constant per row, which does not
            change a softmax over choices. -inf where a row has fewer choices than another.
        Raises: UsageError: If a choice has no token.
        """
        last, rest = self._run_branches(prompts, choices, soft)
        return self.first_scores(last, choices) + rest

    def _run_branches(
        self,
        prompts: Sequence[Prompt],
        choices: Sequence[Sequence[Sequence[int]]],
        soft: Tensor | None,
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b c"]]:
        """Return the last states of the prompts, and choice scores without the first tokens."""
        _check_choices(choices)
        tails = [[ids[:-1] for ids in row] for row in choices]
        sizes = [packed_size(row) for row in choices]
        longest = max(len(ids) for row in tails for ids in row)
        branches = tails if any(sizes) else None
        hidden = self.run(prompts, soft, branches=branches, n_more=longest, use_cache=False).hidden
        last = torch.stack([hidden[i, -1 - size] for i, size in enumerate(sizes)])
        n_choices = max(map(len, choices))
        rest = last.new_zeros(len(choices) * n_choices, dtype=torch.float32)
        if any(sizes):
            read = torch.cat([hidden[i, hidden.shape[1] - size :] for i, size in enumerate(sizes)])
            targets = [token for row in choices for ids in row for token in ids[1:]]
            places = [
                i * n_choices + j
                for i, row in enumerate(choices)
                for j, ids in enumerate(row)
                for _ in ids[1:]
            ]
            wanted, place = (torch.tensor(each, device=read.device) for each in (targets, places))
            rest = rest.index_add(0, place, -self.answer_nll(read[None], wanted[None])[0])
        return last, rest.view(len(choices), n_choices)

    def first_scores(
        self, last: Float[Tensor, "b d"], choices: Sequence[Sequence[Sequence[int]]]
    ) -> Float[Tensor, "b c"]:
        """Return the logit of the first token of each choice, float32.

        Args:
            last: Last hidden state of each prompt.
            choices: For each row the token ids of its choices.
        Returns: Logits, -inf where a row has fewer choices than another.
        """
        logits_of = self.lm.architecture.logits_of
        firsts = [[ids[0] for ids in row] for row in choices]
        if all(row == firsts[0] for row in firsts):
            return logits_of(last, firsts[0])
        rows = [logits_of(h, row) for h, row in zip(last, firsts)]
        return pad_sequence(rows, batch_first=True, padding_value=-torch.inf)

    @torch.inference_mode()
    def score_choices(
        self,
        prompts: Sequence[Prompt],
        choices: Sequence[Sequence[Sequence[int]]],
        soft: Float[Tensor, "b k dr"] | None = None,
        *,
        ranking_only: bool = False,
    ) -> list[Tensor]:
        """Return the summed log-likelihood of each choice after its prompt.

        The choices of a row follow its prompt in the same forward pass, as branches. Long or
        numerous choices run in a second pass, which continues from the cache of the first.

        Args:
            prompts: One prompt per row.
            choices: For each row the token ids of its choices.
            soft: Soft tokens of each row, or None.
            ranking_only: Whether scores may be log-probabilities among the choices of a row,
                which have the same ranking. This avoids logits over the whole vocabulary, except
                where choices need a second pass.
        Returns: Scores in nats, for each row a tensor (c,), float32, on the CPU.
        Raises: UsageError: If a choice has no token.
        """
        _check_choices(choices)
        if in_one_pass(choices):
            last, rest = self._run_branches(prompts, choices, soft)
            if ranking_only:
                found = (self.first_scores(last, choices) + rest).cpu()
                return [scores[: len(row)].log_softmax(-1) for scores, row in zip(found, choices)]
            firsts = self._first_log_likelihoods(last, choices)
            return [scores + more[: len(scores)] for scores, more in zip(firsts, rest.cpu())]
        longest = max(len(ids) for row in choices for ids in row)
        output = self.run(prompts, soft, n_more=longest - 1, use_cache=True)
        scores = self._first_log_likelihoods(output.hidden[:, -1], choices)
        self._add_rest(scores, choices, output)
        return scores

    def _first_log_likelihoods(
        self, last: Float[Tensor, "b d"], choices: Sequence[Sequence[Sequence[int]]]
    ) -> list[Tensor]:
        """Return the log-likelihood of the first token of each choice, on the CPU."""
        shares = self.head(last[:, None])[:, 0].float().log_softmax(-1)
        return [
            shares[i, torch.tensor([ids[0] for ids in row], device=shares.device)].cpu()
            for i, row in enumerate(choices)
        ]

    def _add_rest(
        self,
        scores: list[Tensor],
        choices: Sequence[Sequence[Sequence[int]]],
        output: ForwardOutput,
    ) -> None:
        """Add to `scores` the log-likelihood of all tokens of each choice after its first."""
        groups = [(i, places) for i, row in enumerate(choices) for places in group_for_packing(row)]
        groups.sort(key=lambda group: packed_size([choices[group[0]][j] for j in group[1]]))
        for start in range(0, len(groups), _MAX_PACKED_ROWS):
            part = groups[start : start + _MAX_PACKED_ROWS]
            packed = PackedChoices.of(
                [[choices[i][j] for j in places] for i, places in part], output.hidden.device
            )
            found = self._rest_packed(output, [i for i, _ in part], packed)
            for (i, places), values in zip(part, found):
                scores[i][places] += values[: len(places)]

    def _rest_packed(
        self, output: ForwardOutput, rows: Sequence[int], packed: PackedChoices
    ) -> Float[Tensor, "b c"]:
        """Score packed choices of some rows in a pass that continues from the rows' cache."""
        architecture = self.lm.architecture
        index = torch.tensor(rows, device=output.hidden.device)
        layers = architecture.cached(output.cache)
        cache = architecture.new_cache(tuple((k[index], v[index]) for k, v in layers), len(rows))
        prompt = output.mask[index]
        n = prompt.shape[1]

        def mask_for(window: int | None) -> Tensor:
            n_cached = architecture.n_cached(n, window)
            return packed.attention(prompt, self.lm.dtype, n_cached, window)

        n_positions = n + int(packed.offset.max()) + 1
        out = architecture.decoder(
            inputs_embeds=self.lm.embed(packed.tokens),
            attention_mask=architecture.attention_masks(mask_for, n_positions),
            position_ids=packed.positions(prompt),
            past_key_values=cache,
            use_cache=True,
        )
        real = packed.owner >= 0
        values = self.log_likelihoods(out.last_hidden_state[real], packed.targets[real])
        totals = torch.zeros(len(rows), packed.n_choices, device=values.device)
        totals.index_put_((real.nonzero()[:, 0], packed.owner[real]), values, accumulate=True)
        return totals.cpu()


def in_one_pass(choices: Sequence[Sequence[Sequence[int]]]) -> bool:
    """Return whether the choices of all rows are short enough to run in the pass of the prompts.

    If so, the shared start of the prompts is read only once, even beyond the attention window.
    """
    return max(map(packed_size, choices)) <= _MAX_BRANCHED


def _check_choices(choices: Sequence[Sequence[Sequence[int]]]) -> None:
    if any(not ids for row in choices for ids in row):
        raise UsageError("A choice is empty: every choice needs at least one token.")
