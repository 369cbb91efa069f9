"""The receiver: prompts, with or without soft tokens inside -> choice scores or text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from latentwire.core.errors import UsageError
from latentwire.models.attention_masks import PackedChoices, pack, packed_size
from latentwire.models.forward import MAX_HEAD_POSITIONS, Encoded, ForwardPasses
from latentwire.models.lm import Prompt

_MAX_PACKED_ROWS = 16  # rows whose packed choices are run at once: like sizes, little padding
_MAX_BRANCHED = 64  # tokens of a row's choices that one pass takes in behind its prompt


class Receiver(ForwardPasses):
    """The answering side of a wire; with `soft=None` it is a plain scorer of text prompts.

    Args:
        lm: The frozen model.
        reads: What soft tokens are. `embeddings`: they stand at a prompt's mark. `prefix`: each
            is the packed keys and values of one position in all layers; they stand before the
            whole prompt, at positions 0..k-1, and nothing stands at the mark.
    Source: for `prefix`, Li & Liang 2021, Prefix-Tuning, arXiv:2101.00190, section 4.
    """

    def answer_logits(
        self,
        prompts: Sequence[Prompt],
        answers: Sequence[Sequence[int]],
        soft: Float[Tensor, "b k dr"] | None,
    ) -> tuple[Float[Tensor, "b a v"], Tensor]:
        """Logits at the answer positions only, for training: gradients flow into `soft`.

        Args:
            prompts: One per row.
            answers: Token ids of the right answer, at least one per row.
            soft: Soft tokens that stand at each prompt's mark (see `reads`), or None.
        Returns: Logits of the a last positions, and targets (b, a) with -100 where a row's answer
            is shorter.
        Raises:
            ShapeError: If the soft tokens have another width than it reads.
            UsageError: If a deep prefix and what stands behind it leave the window.
        """
        hidden, targets = self.answer_hidden(prompts, answers, soft)
        return self.head(hidden), targets

    def answer_hidden(
        self,
        prompts: Sequence[Prompt],
        answers: Sequence[Sequence[int]],
        soft: Float[Tensor, "b k dr"] | None,
    ) -> tuple[Float[Tensor, "b a d"], Tensor]:
        """As `answer_logits`, but the last hidden states, before the head."""
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
        """Negative log-likelihood of `targets` in nats, 0 where a target is -100.

        Logits of many positions are never held at once: in the backward pass they are made again.
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
        """Scores of whole choices for training: gradients flow into `soft`.

        It is one forward pass whatever the choices are: those of a row stand side by side behind
        its prompt.

        Args:
            prompts: One per row.
            choices: For each row the token ids of its choices.
            soft: Soft tokens at each prompt's mark, or None.
        Returns: Summed log-likelihoods in nats, up to one number for all choices of a row: enough
            for their distribution. -inf where a row has fewer choices than another.
        Raises: UsageError: If a choice has no token.
        """
        last, rest = self._side_by_side(prompts, choices, soft)
        return self.first_scores(last, choices) + rest

    def _side_by_side(
        self,
        prompts: Sequence[Prompt],
        choices: Sequence[Sequence[Sequence[int]]],
        soft: Tensor | None,
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b c"]]:
        """In one pass each prompt's last state, and each choice's score but for its first token."""
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
        """Logits of each choice's first token behind the last state of its prompt, float32.

        -inf where a row has fewer choices than another.
        """
        firsts = [[ids[0] for ids in row] for row in choices]
        if all(row == firsts[0] for row in firsts):
            return self.head_rows(last, firsts[0])
        rows = [self.head_rows(h, row) for h, row in zip(last, firsts)]
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
        """Summed log-likelihood of each choice behind its prompt.

        One pass does for prompts and choices: those of a row stand side by side behind its prompt.
        Where they are many, they follow in a second pass over its cache.

        Args:
            prompts: One per row.
            choices: For each row the token ids of its choices.
            soft: Soft tokens at each prompt's mark, or None.
            ranking_only: Scores may be log-probabilities among the row's choices: same order. Then
                the normaliser over the vocabulary is left out, unless choices are many.
        Returns: For each row a tensor (c,), float32, on the CPU.
        Raises: UsageError: If a choice has no token.
        """
        _check_choices(choices)
        if in_one_pass(choices):
            last, rest = self._side_by_side(prompts, choices, soft)
            if ranking_only:
                found = (self.first_scores(last, choices) + rest).cpu()
                return [scores[: len(row)].log_softmax(-1) for scores, row in zip(found, choices)]
            firsts = self._first_log_likelihoods(last, choices)
            return [scores + more[: len(scores)] for scores, more in zip(firsts, rest.cpu())]
        longest = max(len(ids) for row in choices for ids in row)
        encoded = self.run(prompts, soft, n_more=longest - 1, use_cache=True)
        scores = self._first_log_likelihoods(encoded.hidden[:, -1], choices)
        self._add_rest(scores, choices, encoded)
        return scores

    def _first_log_likelihoods(
        self, last: Float[Tensor, "b d"], choices: Sequence[Sequence[Sequence[int]]]
    ) -> list[Tensor]:
        """Of each choice's first token behind the last state of its prompt; on the CPU."""
        shares = self.head(last[:, None])[:, 0].float().log_softmax(-1)
        return [
            shares[i, torch.tensor([ids[0] for ids in row], device=shares.device)].cpu()
            for i, row in enumerate(choices)
        ]

    @torch.inference_mode()
    def stream(
        self,
        prompts: Sequence[Prompt],
        soft: Float[Tensor, "b k dr"] | None = None,
        *,
        max_new_tokens: int = 64,
        min_new_tokens: int = 0,
        stop: Sequence[str] = (),
    ) -> Iterator[list[int | None]]:
        """Greedy decoding with a KV cache, one step at a time.

        Args:
            prompts: One per row.
            soft: Soft tokens at each prompt's mark, or None.
            max_new_tokens: Longest text.
            min_new_tokens: Shortest text: before it no row ends.
            stop: A row ends behind the first of these that follows some text.
        Yields: For each row its next token id, or None once the row has ended.
        """
        encoded = self.run(prompts, soft, n_more=max_new_tokens - 1, use_cache=True)
        hidden, mask, cache = encoded.hidden[:, -1:], encoded.mask, encoded.cache
        position = mask.sum(1, keepdim=True)
        ends = list(self.lm.end_ids)
        running = [True] * len(prompts)
        written: list[list[int]] = [[] for _ in prompts]
        for step in range(max_new_tokens):
            logits = self.head(hidden)[:, -1]
            if step < min_new_tokens:
                logits[:, ends] = -torch.inf
            tokens = logits.argmax(-1)
            emitted: list[int | None] = []
            for i, token in enumerate(tokens.tolist()):
                running[i] = running[i] and token not in ends
                emitted.append(token if running[i] else None)
                if stop and running[i]:
                    written[i].append(token)
                    ended = cut_at_stop(self.decode(written[i]), stop) is not None
                    running[i] = not ended or step + 1 < min_new_tokens
            yield emitted
            if not any(running) or step + 1 == max_new_tokens:
                return
            if encoded.is_padded:
                mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)
            out = self.lm.model.base_model(
                inputs_embeds=self.lm.embed(tokens[:, None]),
                attention_mask=mask.long() if encoded.is_padded else None,
                position_ids=position + step,
                past_key_values=cache,
                use_cache=True,
            )
            hidden, cache = out.last_hidden_state, out.past_key_values

    def generate(
        self,
        prompts: Sequence[Prompt],
        soft: Float[Tensor, "b k dr"] | None = None,
        *,
        max_new_tokens: int = 64,
        stop: Sequence[str] = (),
    ) -> list[list[int]]:
        """Token ids written behind each prompt: greedy, until the end of the sequence or a stop."""
        written: list[list[int]] = [[] for _ in prompts]
        for emitted in self.stream(prompts, soft, max_new_tokens=max_new_tokens, stop=stop):
            for row, token in zip(written, emitted):
                if token is not None:
                    row.append(token)
        return written

    def write(
        self,
        prompts: Sequence[Prompt],
        soft: Float[Tensor, "b k dr"] | None = None,
        *,
        max_new_tokens: int = 64,
        stop: Sequence[str] = (),
    ) -> list[str]:
        """Text written behind each prompt, up to a stop sequence, without outer white space."""
        rows = self.generate(prompts, soft, max_new_tokens=max_new_tokens, stop=stop)
        texts = [self.decode(ids) for ids in rows]
        cut = [cut_at_stop(text, stop) for text in texts]
        return [(text if c is None else c).strip() for text, c in zip(texts, cut)]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, without special tokens and white space before it."""
        return str(self.lm.tokenizer.decode(list(ids), skip_special_tokens=True)).lstrip()

    def _add_rest(
        self,
        scores: list[Tensor],
        choices: Sequence[Sequence[Sequence[int]]],
        encoded: Encoded,
    ) -> None:
        """Add the log-likelihood of all tokens but the first of each choice to the row's scores."""
        groups = [(i, places) for i, row in enumerate(choices) for places in pack(row)]
        groups.sort(key=lambda group: packed_size([choices[group[0]][j] for j in group[1]]))
        for start in range(0, len(groups), _MAX_PACKED_ROWS):
            part = groups[start : start + _MAX_PACKED_ROWS]
            packed = PackedChoices.of(
                [[choices[i][j] for j in places] for i, places in part], encoded.hidden.device
            )
            found = self._rest_packed(encoded, [i for i, _ in part], packed)
            for (i, places), values in zip(part, found):
                scores[i][places] += values[: len(places)]

    def _packed_attention(self, prompt: Tensor, packed: PackedChoices) -> Any:
        """Masks as the model wants them: one, or one for each type of layer it has."""
        n = prompt.shape[1]

        def added(window: int | None) -> Tensor:
            return packed.attention(prompt, self.lm.dtype, self._n_kept(n, window), window)

        return self._by_layer(added, n + int(packed.offset.max()) + 1)

    def _rest_packed(
        self, encoded: Encoded, rows: Sequence[int], packed: PackedChoices
    ) -> Float[Tensor, "b c"]:
        """The same for some rows, their choices side by side behind the row's own cache."""
        from transformers import DynamicCache

        index = torch.tensor(rows, device=encoded.hidden.device)
        cache = DynamicCache(config=self.lm.config)
        for i, layer in enumerate(encoded.cache.layers):
            cache.update(layer.keys[index], layer.values[index], i)
        prompt = encoded.mask[index]
        out = self.lm.model.base_model(
            inputs_embeds=self.lm.embed(packed.tokens),
            attention_mask=self._packed_attention(prompt, packed),
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
    """Whether the choices of each row are scored in its prompt's own pass: few or short ones.

    A start that prompts share is then read once, even if it leaves a layer's window.
    """
    return max(map(packed_size, choices)) <= _MAX_BRANCHED


def _check_choices(choices: Sequence[Sequence[Sequence[int]]]) -> None:
    if any(not ids for row in choices for ids in row):
        raise UsageError("A choice is empty: every choice needs at least one token.")


def cut_at_stop(text: str, stop: Sequence[str]) -> str | None:
    """What stands before the first stop sequence, or None if there is none.

    White space that opens the text is no stop: chat models like to begin with an empty line.
    """
    text = text.lstrip()
    found = [place for mark in stop if (place := text.find(mark)) >= 0]
    return text[: min(found)] if found else None
