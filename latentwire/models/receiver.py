"""The receiver: prompts, with or without soft tokens inside -> choice scores or text.

Rows of a batch are padded on the left, so that the answer position is the last one of every
row and distances between tokens are true. What every row shares at its start is computed once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from latentwire.errors import ShapeError, UsageError
from latentwire.models.lm import LanguageModel, Prompt
from latentwire.models.packing import PackedChoices, pack, packed_size

_MAX_HEAD_POSITIONS = 256  # positions whose full-vocabulary logits are held at once
_MAX_PACKED_ROWS = 16  # rows whose packed choices are run at once: like sizes, little padding


@dataclass(frozen=True)
class _Prefix:
    """Keys and values of tokens that stand first in every row."""

    length: int
    layers: tuple[tuple[Tensor, Tensor], ...]  # each (1, heads, length, d)


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
    """

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm
        self._prefixes: OrderedDict[tuple[int, ...], _Prefix] = OrderedDict()

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
            soft: Soft tokens that stand at each prompt's mark, or None.
        Returns: Logits of the a last positions, and targets (b, a) with -100 where a row's answer
            is shorter.
        """
        longest = max(len(answer) for answer in answers)
        rows = [
            self._row(prompt, soft, i, list(answer[:-1]))
            for i, (prompt, answer) in enumerate(zip(prompts, answers))
        ]
        hidden = self._forward(rows, self._shared(prompts), use_cache=False).hidden
        targets = torch.full((len(rows), longest), -100, dtype=torch.long)
        for i, answer in enumerate(answers):
            targets[i, longest - len(answer) :] = torch.tensor(answer)
        return self._head(hidden[:, -longest:]), targets.to(hidden.device)

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

        The prompt is run once for all choices of a row; what is longer than one token follows in a
        second pass over its cache, all choices of a row side by side.

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
        single = all(len(ids) == 1 for row in choices for ids in row)
        rows = [self._row(prompt, soft, i) for i, prompt in enumerate(prompts)]
        encoded = self._forward(rows, self._shared(prompts), use_cache=not single)
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
        if not single:
            self._add_rest(scores, choices, encoded)
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
        rows = [self._row(prompt, soft, i) for i, prompt in enumerate(prompts)]
        encoded = self._forward(rows, self._shared(prompts), use_cache=True)
        hidden, mask, cache = encoded.hidden[:, -1:], encoded.mask, encoded.cache
        ends = set(self.lm.end_ids)
        running = [True] * len(rows)
        written: list[list[int]] = [[] for _ in rows]
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
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
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

    def _row(
        self, prompt: Prompt, soft: Tensor | None, i: int, extra: Sequence[int] = ()
    ) -> Callable[[int], Tensor]:
        """A function from the number of leading tokens to skip to the row's embeddings (u, dr)."""
        if soft is not None and soft.shape[-1] != self.lm.width:
            raise ShapeError(
                f"Soft tokens have width {soft.shape[-1]}, '{self.lm.name}' reads {self.lm.width}."
            )

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
        return _Prefix(len(ids), layers)

    def _forward(
        self, rows: Sequence[Callable[[int], Tensor]], prefix: _Prefix | None, *, use_cache: bool
    ) -> _Encoded:
        skip = prefix.length if prefix else 0
        embedded = [row(skip) for row in rows]
        longest = max(len(row) for row in embedded)
        x = torch.stack([F.pad(row, (0, 0, longest - len(row), 0)) for row in embedded])
        mask = torch.ones(len(rows), skip + longest, dtype=torch.bool, device=x.device)
        for i, row in enumerate(embedded):
            mask[i, skip : skip + longest - len(row)] = False
        positions = (mask.long().cumsum(1) - 1).clamp(min=0)[:, skip:]
        cache = self._cache(prefix, len(rows)) if prefix or use_cache else None
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

    def _add_rest(
        self,
        scores: list[Tensor],
        choices: Sequence[Sequence[Sequence[int]]],
        encoded: _Encoded,
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

    def _packed_attention(self, encoded: _Encoded, prompt: Tensor, packed: PackedChoices) -> Any:
        """Masks as the model wants them: one, or one for each type of layer it has."""
        dtype, window = self.lm.dtype, self.lm.window
        if prompt.shape[1] + int(packed.offset.max()) + 1 <= window:
            return packed.attention(prompt, dtype, prompt.shape[1])
        types = getattr(self.lm.config, "layer_types", None) or ["sliding_attention"]
        kept = dict(zip(types, (layer.keys.shape[2] for layer in encoded.cache.layers)))
        masks = {
            kind: packed.attention(prompt, dtype, n, None if kind == "full_attention" else window)
            for kind, n in kept.items()
        }
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _rest_packed(
        self, encoded: _Encoded, rows: Sequence[int], packed: PackedChoices
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
            attention_mask=self._packed_attention(encoded, prompt, packed),
            position_ids=packed.positions(prompt),
            past_key_values=cache,
            use_cache=True,
        )
        real = packed.owner >= 0
        values = self._log_likelihoods(out.last_hidden_state[real], packed.targets[real])
        totals = torch.zeros(len(rows), packed.n_choices, device=values.device)
        totals.index_put_((real.nonzero()[:, 0], packed.owner[real]), values, accumulate=True)
        return totals.cpu()

    def _log_likelihoods(
        self, hidden: Float[Tensor, "n d"], targets: Int[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """Of one token behind each state; few vocabularies of logits are held at once."""
        return torch.cat(
            [
                self._head(h[None])[0].float().log_softmax(-1).gather(1, t[:, None])[:, 0]
                for h, t in zip(
                    torch.split(hidden, _MAX_HEAD_POSITIONS),
                    torch.split(targets, _MAX_HEAD_POSITIONS),
                )
            ]
        )


def cut_at_stop(text: str, stop: Sequence[str]) -> str | None:
    """What stands before the first stop sequence, or None if there is none.

    White space that opens the text is no stop: chat models like to begin with an empty line.
    """
    text = text.lstrip()
    found = [place for mark in stop if (place := text.find(mark)) >= 0]
    return text[: min(found)] if found else None
