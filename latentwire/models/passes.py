"""A causal model's forward pass over prompts, with soft tokens inside or before them.

Rows of a batch are padded on the left, so that the answer position is the last one of every
row and distances between tokens are true. What every row shares at its start is computed once.
A deep prefix takes the place of that start: what stands behind it has seen it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from latentwire.errors import ShapeError
from latentwire.models.lm import LanguageModel, Prompt
from latentwire.models.packing import added_to_scores, branch_attention, row_attention
from latentwire.models.prefix import KeysAndValues, check_window, read_only, unpack_prefix

MAX_HEAD_POSITIONS = 256
"""Positions whose full-vocabulary logits are held at once."""

_MOST_BEHIND = 2
"""Tokens behind a shared start, as multiples of its length, up to which it is not copied."""


@dataclass(frozen=True)
class _Prefix:
    """Keys and values of tokens that stand first in every row."""

    length: int
    layers: KeysAndValues  # of one row for all, or of each row
    n_read: int  # leading tokens of every prompt that are in it


@dataclass(frozen=True)
class Encoded:
    """A batch of rows after one forward pass."""

    hidden: Tensor  # (b, u, dr), left-padded
    mask: Tensor  # (b, prefix + u)
    cache: Any
    is_padded: bool


class ForwardPasses:
    """What scoring, writing and training share: rows, the pass through the layers, the head.

    Args:
        lm: The frozen model.
        reads: See Receiver.
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

    def run(
        self,
        prompts: Sequence[Prompt],
        soft: Tensor | None,
        read: Sequence[Sequence[int]] | None = None,
        *,
        n_more: int,
        use_cache: bool,
        branches: Sequence[Sequence[Sequence[int]]] | None = None,
    ) -> Encoded:
        """One forward pass over prompts, each with its soft tokens and ids read behind it.

        Args:
            prompts: One per row.
            soft: Soft tokens of each, or None.
            read: Ids behind each prompt in this pass; none by default.
            n_more: Highest number of tokens that any pass puts behind a prompt.
            use_cache: Whether later passes go on from this one.
            branches: In place of `read`: for each prompt several runs of ids that all follow the
                prompt and do not see each other. They stand behind it in their order.
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
            prefix = self._shared(prompts, n_more + (0 if soft is None else soft.shape[1]))
        extras = read or [()] * len(prompts)
        owners = None
        if branches is not None:
            extras = [[token for ids in each for token in ids] for each in branches]
            owners = [[j for j, ids in enumerate(each) for _ in ids] for each in branches]
        rows = self._rows(prompts, soft, extras, prefix.n_read if prefix else 0)
        if prefix and not use_cache and self._starts_long(prefix, rows):
            return self._forward_end_to_end(rows, prefix, owners)
        return self._forward(rows, prefix, owners, use_cache=use_cache)

    def _rows(
        self,
        prompts: Sequence[Prompt],
        soft: Tensor | None,
        extras: Sequence[Sequence[int]],
        skip: int,
    ) -> list[Tensor]:
        """Embeddings of each row, (u, dr), without its first `skip` tokens; all at once."""
        ids = [[*p.before[skip:], *p.after, *extra] for p, extra in zip(prompts, extras)]
        flat = self.lm.embed(torch.tensor([i for row in ids for i in row], dtype=torch.long))
        rows = list(torch.split(flat, [len(row) for row in ids]))
        if soft is None:
            return rows
        cuts = [len(p.before) - skip for p in prompts]
        return [
            torch.cat([row[:cut], each, row[cut:]])
            for row, each, cut in zip(rows, soft.to(flat), cuts)
        ]

    def _shared(self, prompts: Sequence[Prompt], n_more: int) -> _Prefix | None:
        """The cached start that all prompts have in common, if the window allows its reuse.

        Every layer must look back on all of a row: a prompt and `n_more` positions in or behind it.
        """
        first = prompts[0]
        ids = first.before[: first.n_static]
        longest = max(len(p.before) + len(p.after) for p in prompts)
        # Processes that hold a model together make the same passes, whatever their prompts are.
        if not ids or longest + n_more > self.lm.window or self.lm.is_sharded:
            return None
        if any(p.n_static != first.n_static or p.before[: len(ids)] != ids for p in prompts):
            return None
        if ids not in self._prefixes:
            self._prefixes[ids] = self._prefill(ids)
            while len(self._prefixes) > 16:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(ids)
        return self._prefixes[ids]

    @staticmethod
    def _starts_long(prefix: _Prefix, rows: Sequence[Tensor]) -> bool:
        """Whether copies of a shared start cost more than scores that are thrown away."""
        n_behind = sum(map(len, rows))
        return prefix.n_read > 0 and len(rows) > 1 and n_behind <= _MOST_BEHIND * prefix.length

    @torch.no_grad()
    def _prefill(self, ids: tuple[int, ...]) -> _Prefix:
        embedded = self.lm.embed(torch.tensor(ids)[None])
        out = self.lm.model.base_model(inputs_embeds=embedded, use_cache=True)
        layers = tuple((layer.keys, layer.values) for layer in out.past_key_values.layers)
        return _Prefix(len(ids), layers, n_read=len(ids))

    def _forward(
        self,
        rows: Sequence[Tensor],
        prefix: _Prefix | None,
        owners: Sequence[Sequence[int]] | None = None,
        *,
        use_cache: bool,
    ) -> Encoded:
        start = prefix.length if prefix else 0
        x, mask = _padded_left(rows), _mask(rows, start)
        is_padded = not bool(mask.all())
        positions = (mask.long().cumsum(1) - 1).clamp(min=0)[:, start:].to(x.device)
        mask = mask.to(x.device)
        attention: Any = mask.long() if is_padded else None
        if owners is not None:
            attention, positions = self._apart(mask, owners, start)
        cache = self._cache(prefix, len(rows)) if prefix or use_cache else None
        if prefix and not use_cache:
            read_only(cache)
        out = self.lm.model.base_model(
            inputs_embeds=x,
            attention_mask=attention,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return Encoded(out.last_hidden_state, mask, out.past_key_values, is_padded)

    def _forward_end_to_end(
        self, rows: Sequence[Tensor], prefix: _Prefix, owners: Sequence[Sequence[int]] | None
    ) -> Encoded:
        """The same for rows that stand behind one another, and all behind one copy of the prefix.

        Every layer looks back on all of a row: that is asked where the prefix is shared.
        """
        sizes = [len(row) for row in rows]
        owner = torch.full((sum(sizes),), -1)
        for end, each in zip(accumulate(sizes), owners or ()):
            owner[end - len(each) : end] = torch.tensor(each, dtype=torch.long)
        allowed, places = row_attention(sizes, owner.to(self.lm.device))
        seen = torch.cat([allowed.new_ones(len(allowed), prefix.length), allowed], dim=1)
        cache = self._cache(prefix, 1)
        read_only(cache)
        out = self.lm.model.base_model(
            inputs_embeds=torch.cat([*rows])[None],
            attention_mask=added_to_scores(seen[None], self.lm.dtype),
            position_ids=(prefix.length + places)[None],
            past_key_values=cache,
            use_cache=True,
        )
        hidden = _padded_left(torch.split(out.last_hidden_state[0], sizes))
        mask = _mask(rows, prefix.length)
        return Encoded(hidden, mask.to(hidden.device), cache, not bool(mask.all()))

    def _apart(
        self, mask: Tensor, owners: Sequence[Sequence[int]], start: int
    ) -> tuple[Any, Tensor]:
        """Attention and positions behind `start` of rows that end in branches.

        Attention is as the model wants it: one mask, or one for each type of layer it has.
        """
        owner = torch.full(mask.shape, -1, dtype=torch.long)
        for i, each in enumerate(owners):
            owner[i, mask.shape[1] - len(each) :] = torch.tensor(each, dtype=torch.long)
        allowed, positions = branch_attention(mask, owner.to(mask.device))

        def added(window: int | None) -> Tensor:
            seen = allowed
            if window is not None:
                seen = seen & (positions[:, None, :] > positions[:, :, None] - window)
            return added_to_scores(seen[:, start:], self.lm.dtype)

        if int(positions.max()) < self.lm.window:
            return added(None), positions[:, start:]
        types = getattr(self.lm.config, "layer_types", None) or ["sliding_attention"]
        masks = {
            kind: added(None if kind == "full_attention" else self.lm.window)
            for kind in dict.fromkeys(types)
        }
        return (masks if len(masks) > 1 else next(iter(masks.values()))), positions[:, start:]

    def _cache(self, prefix: _Prefix | None, n_rows: int) -> Any:
        from transformers import DynamicCache

        cache = DynamicCache(config=self.lm.config)
        for i, (keys, values) in enumerate(prefix.layers if prefix else ()):
            cache.update(keys.expand(n_rows, -1, -1, -1), values.expand(n_rows, -1, -1, -1), i)
        return cache

    def head(self, hidden: Float[Tensor, "b a d"]) -> Float[Tensor, "b a v"]:
        """Logits of last hidden states."""
        # As one matrix: for a strided (b, 1, d) torch picks a batched product, ten times slower.
        flat = hidden.reshape(-1, hidden.shape[-1]).contiguous()
        logits = self.lm.model.get_output_embeddings()(flat)
        return self._cap(logits.view(*hidden.shape[:-1], -1))

    def head_rows(self, hidden: Float[Tensor, "*b d"], ids: list[int]) -> Float[Tensor, "*b c"]:
        """Logits of a few tokens behind states, without those of the whole vocabulary."""
        head = self.lm.model.get_output_embeddings()
        index = torch.tensor(ids, device=hidden.device)
        bias = head.bias[index] if getattr(head, "bias", None) is not None else None
        return self._cap(F.linear(hidden, head.weight[index], bias).float())

    def _cap(self, logits: Tensor) -> Tensor:
        cap = getattr(self.lm.config, "final_logit_softcapping", None)
        return torch.tanh(logits / cap) * cap if cap else logits

    def log_likelihoods(
        self, hidden: Float[Tensor, "n d"], targets: Int[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """Of one token behind each state; few vocabularies of logits are held at once."""
        return torch.cat(
            [
                self.head(h[None])[0].float().log_softmax(-1).gather(1, t[:, None])[:, 0]
                for h, t in zip(
                    torch.split(hidden, MAX_HEAD_POSITIONS),
                    torch.split(targets, MAX_HEAD_POSITIONS),
                )
            ]
        )


def _padded_left(rows: Sequence[Float[Tensor, "u d"]]) -> Float[Tensor, "b u d"]:
    longest = max(map(len, rows))
    return torch.stack([F.pad(row, (0, 0, longest - len(row), 0)) for row in rows])


def _mask(rows: Sequence[Tensor], start: int) -> Bool[Tensor, "b n"]:
    """True at real tokens; on the host: what is known there is not asked of the device."""
    longest = max(map(len, rows))
    mask = torch.ones(len(rows), start + longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        mask[i, start : start + longest - len(row)] = False
    return mask
