"""A causal model's forward pass over prompts, with soft tokens inside or before them.

Rows of a batch are padded on the left, so that the answer position is the last one of every
row and distances between tokens are true. What every row shares at its start is computed once.
A deep prefix takes the place of that start: what stands behind it has seen it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from latentwire.core.errors import ShapeError
from latentwire.models.attention_masks import added_to_scores, branch_attention, row_attention
from latentwire.models.deep_prefix import KeysAndValues, check_window, read_only, unpack_prefix
from latentwire.models.lm import LanguageModel, Prompt

MAX_HEAD_POSITIONS = 256
"""Positions whose full-vocabulary logits are held at once."""

_MOST_KEPT = 8_192
"""Tokens of shared starts that are kept, the last ones used: some hundred megabytes."""

_MOST_BEHIND = 2
"""Tokens behind a shared start, as multiples of its length, up to which it is not copied."""


@dataclass(frozen=True)
class _Prefix:
    """Keys and values of tokens that stand first in every row."""

    length: int
    layers: KeysAndValues  # of one row for all, or of each row


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
        extras = read or [()] * len(prompts)
        owners = None
        if branches is not None:
            extras = [[token for ids in each for token in ids] for each in branches]
            owners = [[j for j, ids in enumerate(each) for _ in ids] for each in branches]
        longest = max(len(prompt.before) + len(prompt.after) for prompt in prompts) + n_more
        if soft is not None and self.reads == "prefix":
            check_window(self.lm, soft.shape[1], longest)
            prefix = _Prefix(soft.shape[1], unpack_prefix(self.lm, soft))
            rows = self._rows(prompts, None, extras, skip=0)
            return self._forward(rows, prefix, owners, use_cache=use_cache)
        k = 0 if soft is None else soft.shape[1]
        n_static = self._n_shared(prompts)
        sizes = [len(p.before) + len(p.after) - n_static + k for p in prompts]
        n_behind = sum(sizes) + sum(map(len, extras))
        fits = longest + k <= self.lm.window
        end_to_end = not use_cache and _end_to_end(n_static, n_behind, len(prompts), fits)
        shared = self._shared(prompts[0].before[:n_static]) if fits or end_to_end else None
        rows = self._rows(prompts, soft, extras, skip=n_static if shared else 0)
        if shared and end_to_end:
            return self._forward_end_to_end(rows, shared, owners)
        return self._forward(rows, shared, owners, use_cache=use_cache)

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

    def _n_shared(self, prompts: Sequence[Prompt]) -> int:
        """Tokens that stand first in every prompt and need not be read for each."""
        first = prompts[0]
        ids = first.before[: first.n_static]
        same = all(p.n_static == first.n_static and p.before[: len(ids)] == ids for p in prompts)
        # Processes that hold a model together make the same passes, whatever their prompts are.
        return len(ids) if same and not self.lm.is_sharded else 0

    def _shared(self, ids: tuple[int, ...]) -> _Prefix | None:
        """The start of all prompts, read once and kept; None if there is none."""
        if not ids:
            return None
        if ids not in self._prefixes:
            self._prefixes[ids] = self._prefill(ids)
            while len(self._prefixes) > 1 and sum(map(len, self._prefixes)) > _MOST_KEPT:
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

        No padding stands in between, so that it is right beyond a layer's window, too.
        """
        sizes = [len(row) for row in rows]
        owner = torch.full((sum(sizes),), -1)
        for end, each in zip(accumulate(sizes), owners or ()):
            owner[end - len(each) : end] = torch.tensor(each, dtype=torch.long)
        allowed, places = row_attention(sizes, owner.to(self.lm.device))
        start = torch.arange(prefix.length, device=places.device)
        at = torch.cat([start, prefix.length + places])  # of every key

        def added(window: int | None) -> Tensor:
            n_kept = self._n_kept(prefix.length, window)
            seen = torch.cat([allowed.new_ones(len(allowed), n_kept), allowed], dim=1)
            if window is not None:
                seen &= at[prefix.length - n_kept :] > prefix.length + places[:, None] - window
            return added_to_scores(seen[None], self.lm.dtype)

        cache = self._cache(prefix, 1)
        read_only(cache)
        out = self.lm.model.base_model(
            inputs_embeds=torch.cat([*rows])[None],
            attention_mask=self._by_layer(added, int(at.max()) + 1),
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

        return self._by_layer(added, int(positions.max()) + 1), positions[:, start:]

    def _by_layer(self, added: Callable[[int | None], Tensor], n: int) -> Any:
        """Masks of n places as the model wants them: one, or one for each type of layer it has.

        Args:
            added: Makes one of a layer's window, or of None where all is in it.
            n: Places of the longest row.
        """
        if n <= (self.lm.sliding_window or n):
            return added(None)
        types = getattr(self.lm.config, "layer_types", None) or ["sliding_attention"]
        masks = {
            kind: added(None if kind == "full_attention" else self.lm.sliding_window)
            for kind in dict.fromkeys(types)
        }
        return masks if len(masks) > 1 else next(iter(masks.values()))

    @staticmethod
    def _n_kept(n: int, window: int | None) -> int:
        """How many of the last n keys a layer still has: all that the next token can see."""
        return n if window is None else min(n, window - 1)

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


def _end_to_end(n_static: int, n_behind: int, n_rows: int, fits: bool) -> bool:
    """Whether rows should stand behind one another, behind one copy of their shared start.

    Within the window it is a matter of speed: where copies of the start cost more than scores
    that are thrown away. Beyond it the other way is to read the start again for every row.

    Args:
        n_static: Tokens of the start.
        n_behind: Tokens behind it, of all rows.
        n_rows: Rows.
        fits: Whether every layer looks back on all of a row.
    """
    if fits:
        return n_rows > 1 and n_behind <= _MOST_BEHIND * n_static
    return n_behind <= n_rows * n_static


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
