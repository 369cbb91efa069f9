"""The receiver: prompts, with or without soft tokens inside -> choice scores or text.

Rows of a batch are padded on the left, so that the answer position is the last one of every
row and distances between tokens are true. What every row shares at its start is computed once.
A deep prefix takes the place of that start: what stands behind it has seen it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from latentwire.errors import ShapeError, UsageError
from latentwire.models.lm import LanguageModel, Prompt
from latentwire.models.prefix import KeysAndValues, check_window, read_only, unpack_prefix

_MAX_HEAD_POSITIONS = 256  # positions whose full-vocabulary logits are held at once
_MAX_BRANCH_ROWS = 128  # choice branches that are run at once


@dataclass(frozen=True)
class _Prefix:
    """Keys and values of tokens that stand first in every row."""

    length: int
    layers: KeysAndValues  # of one row for all, or of each row
    n_read: int  # leading tokens of every prompt that are in it


@dataclass(frozen=True)
class _Encoded:
    """A batch of rows after one forward pass."""

    hidden: Tensor  # (b, u, dr), left-padded
    mask: Tensor  # (b, prefix + u)
    cache: Any


class Receiver:
    """The answering side of a wire; with `soft=None` it is a plain scorer of text prompts.

    Args:
        lm: The frozen model.
        reads: What soft tokens are. `embeddings`: they stand at a prompt's mark. `prefix`: each
            is the packed keys and values of one position in all layers; they stand before the
            whole prompt, at positions 0..k-1, and nothing stands at the mark.
    Source: for `prefix`, Li & Liang 2021, Prefix-Tuning, arXiv:2101.00190, section 4.
    """

    def __init__(
        self, lm: LanguageModel, reads: Literal["embeddings", "prefix"] = "embeddings"
    ) -> None:
        self.lm, self.reads = lm, reads
        self._prefixes: OrderedDict[tuple[int, ...], _Prefix] = OrderedDict()

    @property
    def soft_width(self) -> int:
        """Size of a soft token, as this receiver reads them.

        Raises: ModelError: If it reads a deep prefix and its layers take none.
        """
        return self.lm.prefix_width if self.reads == "prefix" else self.lm.width

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
        return self._head(hidden), targets

    def answer_hidden(
        self,
        prompts: Sequence[Prompt],
        answers: Sequence[Sequence[int]],
        soft: Float[Tensor, "b k dr"] | None,
    ) -> tuple[Float[Tensor, "b a d"], Tensor]:
        """As `answer_logits`, but the last hidden states, before the head."""
        longest = max(len(answer) for answer in answers)
        read = [answer[:-1] for answer in answers]
        hidden = self._run(prompts, soft, read, n_more=longest - 1, use_cache=False).hidden
        targets = torch.full((len(answers), longest), -100, dtype=torch.long)
        for i, answer in enumerate(answers):
            targets[i, longest - len(answer) :] = torch.tensor(answer)
        return hidden[:, -longest:], targets.to(hidden.device)

    def logits(self, hidden: Float[Tensor, "b a d"]) -> Float[Tensor, "b a v"]:
        """Logits of last hidden states, as `answer_hidden` gives them."""
        return self._head(hidden)

    def answer_nll(
        self, hidden: Float[Tensor, "b a d"], targets: Int[Tensor, "b a"]
    ) -> Float[Tensor, "b a"]:
        """Negative log-likelihood of `targets` in nats, 0 where a target is -100.

        Logits of many positions are never held at once: in the backward pass they are made again.
        """
        flat, wanted = hidden.flatten(0, 1), targets.flatten()
        if len(wanted) <= _MAX_HEAD_POSITIONS:
            return self._nll(flat, wanted).view(targets.shape)
        parts = [
            checkpoint(self._nll, h, w, use_reentrant=False, preserve_rng_state=False)
            for h, w in zip(
                torch.split(flat, _MAX_HEAD_POSITIONS), torch.split(wanted, _MAX_HEAD_POSITIONS)
            )
        ]
        return torch.cat(parts).view(targets.shape)

    def _nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        logits = self._head(hidden[None])[0].float()
        return F.cross_entropy(logits, targets, ignore_index=-100, reduction="none")

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

        The prompt is run once for all choices of a row; longer choices branch from its cache.

        Args:
            prompts: One per row.
            choices: For each row the token ids of its choices.
            soft: Soft tokens at each prompt's mark, or None.
            ranking_only: When all choices of all rows are one token, skip the normaliser over the
                vocabulary: scores are then log-probabilities among the row's choices. Same order.
        Returns: For each row a tensor (c,), float32, on the CPU.
        Raises: UsageError: If a choice has no token.
        """
        if any(not ids for row in choices for ids in row):
            raise UsageError("A choice is empty: every choice needs at least one token.")
        longest = max((len(ids) for row in choices for ids in row), default=1)
        single = longest == 1
        encoded = self._run(prompts, soft, n_more=longest - 1, use_cache=not single)
        last = encoded.hidden[:, -1]
        if single and ranking_only:
            return [
                self._head_rows(last[i], [ids[0] for ids in row]).log_softmax(-1).cpu()
                for i, row in enumerate(choices)
            ]
        firsts = self._head(last[:, None])[:, 0].float().log_softmax(-1)
        scores = [
            firsts[i, torch.tensor([ids[0] for ids in row], device=firsts.device)].cpu()
            for i, row in enumerate(choices)
        ]
        branches = [
            (i, j, list(ids))
            for i, row in enumerate(choices)
            for j, ids in enumerate(row)
            if len(ids) > 1
        ]
        branches.sort(key=lambda branch: len(branch[2]))
        for start in range(0, len(branches), _MAX_BRANCH_ROWS):
            part = branches[start : start + _MAX_BRANCH_ROWS]
            for (i, j, _), value in zip(part, self._score_branches(encoded, part)):
                scores[i][j] += value
        return scores

    @torch.inference_mode()
    def stream(
        self,
        prompts: Sequence[Prompt],
        soft: Float[Tensor, "b k dr"] | None = None,
        *,
        max_new_tokens: int = 64,
        stop: Sequence[str] = (),
    ) -> Iterator[list[int | None]]:
        """Greedy decoding with a KV cache, one step at a time.

        Args:
            prompts: One per row.
            soft: Soft tokens at each prompt's mark, or None.
            max_new_tokens: Longest text.
            stop: A row ends behind the first of these that follows some text.
        Yields: For each row its next token id, or None once the row has ended.
        """
        encoded = self._run(prompts, soft, n_more=max_new_tokens - 1, use_cache=True)
        hidden, mask, cache = encoded.hidden[:, -1:], encoded.mask, encoded.cache
        ends = set(self.lm.end_ids)
        running = [True] * len(prompts)
        written: list[list[int]] = [[] for _ in prompts]
        for step in range(max_new_tokens):
            tokens = self._head(hidden)[:, -1].argmax(-1)
            emitted: list[int | None] = []
            for i, token in enumerate(tokens.tolist()):
                running[i] = running[i] and token not in ends
                emitted.append(token if running[i] else None)
                if stop and running[i]:
                    written[i].append(token)
                    running[i] = cut_at_stop(self.decode(written[i]), stop) is None
            yield emitted
            if not any(running) or step + 1 == max_new_tokens:
                return
            mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)
            out = self.lm.model.base_model(
                inputs_embeds=self.lm.embed(tokens[:, None]),
                attention_mask=mask.long(),
                position_ids=mask.sum(1, keepdim=True) - 1,
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

    # -- rows and the forward pass ------------------------------------------------------------

    def _run(
        self,
        prompts: Sequence[Prompt],
        soft: Tensor | None,
        read: Sequence[Sequence[int]] | None = None,
        *,
        n_more: int,
        use_cache: bool,
    ) -> _Encoded:
        """One forward pass over prompts, each with its soft tokens and ids read behind it.

        Args:
            prompts: One per row.
            soft: Soft tokens of each, or None.
            read: Ids behind each prompt in this pass; none by default.
            n_more: Highest number of tokens that any pass puts behind a prompt.
            use_cache: Whether later passes go on from this one.
        """
        if soft is not None and soft.shape[-1] != self.soft_width:
            raise ShapeError(
                f"Soft tokens have width {soft.shape[-1]}, '{self.lm.name}' reads "
                f"{self.soft_width} as {self.reads}."
            )
        prefix: _Prefix | None
        if soft is not None and self.reads == "prefix":
            longest = max(len(prompt.before) + len(prompt.after) for prompt in prompts)
            check_window(self.lm, soft.shape[1], longest + n_more)
            prefix = _Prefix(soft.shape[1], unpack_prefix(self.lm, soft), n_read=0)
            soft = None
        else:
            prefix = self._shared(prompts)
        extras = read or [()] * len(prompts)
        rows = [self._row(p, soft, i, extra) for i, (p, extra) in enumerate(zip(prompts, extras))]
        return self._forward(rows, prefix, use_cache=use_cache)

    def _row(
        self, prompt: Prompt, soft: Tensor | None, i: int, extra: Sequence[int]
    ) -> Callable[[int], Tensor]:
        """A function from the number of leading tokens to skip to the row's embeddings (u, dr)."""

        def build(skip: int) -> Tensor:
            ids = torch.tensor([*prompt.before[skip:], *prompt.after, *extra], dtype=torch.long)
            embedded = self.lm.embed(ids)
            if soft is None:
                return embedded
            cut = len(prompt.before) - skip
            return torch.cat([embedded[:cut], soft[i].to(embedded), embedded[cut:]])

        return build

    def _shared(self, prompts: Sequence[Prompt]) -> _Prefix | None:
        """The cached start that all prompts have in common, if the window allows its reuse."""
        first = prompts[0]
        ids = first.before[: first.n_static]
        longest = max(len(p.before) + len(p.after) for p in prompts)
        if not ids or longest + 256 > self.lm.window:
            return None
        if any(p.n_static != first.n_static or p.before[: len(ids)] != ids for p in prompts):
            return None
        if ids not in self._prefixes:
            self._prefixes[ids] = self._prefill(ids)
            while len(self._prefixes) > 16:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(ids)
        return self._prefixes[ids]

    @torch.no_grad()
    def _prefill(self, ids: tuple[int, ...]) -> _Prefix:
        embedded = self.lm.embed(torch.tensor(ids)[None])
        out = self.lm.model.base_model(inputs_embeds=embedded, use_cache=True)
        layers = tuple((layer.keys, layer.values) for layer in out.past_key_values.layers)
        return _Prefix(len(ids), layers, n_read=len(ids))

    def _forward(
        self, rows: Sequence[Callable[[int], Tensor]], prefix: _Prefix | None, *, use_cache: bool
    ) -> _Encoded:
        start = prefix.length if prefix else 0
        embedded = [row(prefix.n_read if prefix else 0) for row in rows]
        longest = max(len(row) for row in embedded)
        x = torch.stack([F.pad(row, (0, 0, longest - len(row), 0)) for row in embedded])
        mask = torch.ones(len(rows), start + longest, dtype=torch.bool, device=x.device)
        for i, row in enumerate(embedded):
            mask[i, start : start + longest - len(row)] = False
        positions = (mask.long().cumsum(1) - 1).clamp(min=0)[:, start:]
        cache = self._cache(prefix, len(rows)) if prefix or use_cache else None
        if prefix and not use_cache:
            read_only(cache)
        out = self.lm.model.base_model(
            inputs_embeds=x,
            attention_mask=None if bool(mask.all()) else mask.long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return _Encoded(out.last_hidden_state, mask, out.past_key_values)

    def _cache(self, prefix: _Prefix | None, n_rows: int) -> Any:
        from transformers import DynamicCache

        cache = DynamicCache(config=self.lm.config)
        for i, (keys, values) in enumerate(prefix.layers if prefix else ()):
            cache.update(keys.expand(n_rows, -1, -1, -1), values.expand(n_rows, -1, -1, -1), i)
        return cache

    # -- the head -----------------------------------------------------------------------------

    def _head(self, hidden: Float[Tensor, "b a d"]) -> Float[Tensor, "b a v"]:
        # As one matrix: for a strided (b, 1, d) torch picks a batched product, ten times slower.
        flat = hidden.reshape(-1, hidden.shape[-1]).contiguous()
        logits = self.lm.model.get_output_embeddings()(flat)
        return self._cap(logits.view(*hidden.shape[:-1], -1))

    def _head_rows(self, hidden: Float[Tensor, " d"], ids: list[int]) -> Float[Tensor, " c"]:
        head = self.lm.model.get_output_embeddings()
        index = torch.tensor(ids, device=hidden.device)
        bias = head.bias[index] if getattr(head, "bias", None) is not None else None
        return self._cap(F.linear(hidden, head.weight[index], bias).float())

    def _cap(self, logits: Tensor) -> Tensor:
        cap = getattr(self.lm.config, "final_logit_softcapping", None)
        return torch.tanh(logits / cap) * cap if cap else logits

    def _score_branches(
        self, encoded: _Encoded, branches: Sequence[tuple[int, int, list[int]]]
    ) -> list[float]:
        """Log-likelihood of all tokens but the first of each choice, given its row's cache."""
        from transformers import DynamicCache

        device = encoded.hidden.device
        index = torch.tensor([i for i, _, _ in branches], device=device)
        longest = max(len(ids) for _, _, ids in branches) - 1
        tokens = torch.zeros(len(branches), longest, dtype=torch.long)
        targets = torch.zeros_like(tokens)
        real = torch.zeros_like(tokens, dtype=torch.bool)
        for row, (_, _, ids) in enumerate(branches):
            n = len(ids) - 1
            tokens[row, :n], targets[row, :n] = torch.tensor(ids[:-1]), torch.tensor(ids[1:])
            real[row, :n] = True
        tokens, targets, real = tokens.to(device), targets.to(device), real.to(device)
        cache = DynamicCache(config=self.lm.config)
        for i, layer in enumerate(encoded.cache.layers):
            cache.update(layer.keys[index], layer.values[index], i)
        mask = torch.cat([encoded.mask[index], real], dim=1)
        positions = (mask.long().cumsum(1) - 1)[:, -longest:]
        out = self.lm.model.base_model(
            inputs_embeds=self.lm.embed(tokens),
            attention_mask=mask.long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        hidden, wanted = out.last_hidden_state[real], targets[real]
        values = torch.cat(
            [
                self._head(h[None])[0].float().log_softmax(-1).gather(1, w[:, None])[:, 0]
                for h, w in zip(
                    torch.split(hidden, _MAX_HEAD_POSITIONS),
                    torch.split(wanted, _MAX_HEAD_POSITIONS),
                )
            ]
        )
        totals = torch.zeros(len(branches), device=device)
        totals.index_add_(0, real.nonzero()[:, 0], values)
        return [float(value) for value in totals]


def cut_at_stop(text: str, stop: Sequence[str]) -> str | None:
    """What stands before the first stop sequence, or None if there is none.

    White space that opens the text is no stop: chat models like to begin with an empty line.
    """
    text = text.lstrip()
    found = [place for mark in stop if (place := text.find(mark)) >= 0]
    return text[: min(found)] if found else None
