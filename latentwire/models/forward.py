"""Forward passes of a frozen model over prompts, with soft tokens in or before them.

Rows are padded on the left, so that the answer position is the last one of every row and distances
between tokens are correct. The start that all prompts share is computed once. A deep prefix is
handled like such a start.
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

from latentwire.core.errors import ShapeError
from latentwire.models.architecture import KeysAndValues
from latentwire.models.attention_masks import additive_mask, branch_attention, row_attention
from latentwire.models.deep_prefix import check_window, make_read_only, unpack_prefix
from latentwire.models.lm import LanguageModel, Prompt

MAX_HEAD_POSITIONS = 256
"""Number of positions whose logits over the whole vocabulary are held in memory at once."""

_MAX_KEPT_TOKENS = 8_192
"""Maximum number of tokens of shared prompt starts in memory (an LRU cache of about 100 MB)."""

_MAX_ROW_RATIO = 2
"""Maximum length of concatenated rows, as a multiple of the length of their shared start."""


@dataclass(frozen=True)
class PromptStart:
    """Keys and values of the first tokens of every row.

    Args:
        length: Number of tokens.
        layers: Keys and values, for one row that all rows share or for each row.
    """

    length: int
    layers: KeysAndValues


@dataclass(frozen=True)
class ForwardOutput:
    """Result of one forward pass over a batch of rows.

    Args:
        hidden: Last hidden states without those of the prompt start, (b, u, dr), left-padded.
        mask: True at real tokens, prompt start included, (b, start + u).
        cache: KV cache for later passes.
        is_padded: Whether any row is padded.
    """

    hidden: Tensor
    mask: Tensor
    cache: Any
    is_padded: bool


class ForwardPasses:
    """Forward passes shared by scoring, generation and training.

    Args:
        lm: Frozen model.
        reads: Form of the soft tokens, see Receiver.
    """

    def __init__(
        self, lm: LanguageModel, reads: Literal["embeddings", "prefix"] = "embeddings"
    ) -> None:
        self.lm, self.reads = lm, reads
        self._starts: OrderedDict[tuple[int, ...], PromptStart] = OrderedDict()

    @property
    def soft_width(self) -> int:
        """Size of a soft token that this receiver reads.

        Raises: ModelError: If it reads deep prefixes and its model does not support them.
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
    ) -> ForwardOutput:
        """Run one forward pass over prompts, their soft tokens and ids that follow.

        Args:
            prompts: One prompt per row.
            soft: Soft tokens of each row, (b, k, dr), or None.
            read: Token ids that follow each prompt in this pass; default: none.
            n_more: Maximum number of tokens after a prompt, in this and later passes.
            use_cache: Whether later passes continue from this one.
            branches: Instead of `read`: for each prompt, several sequences of ids that follow the
                prompt and do not attend to each other. Results are in the given order.
        Raises:
            ShapeError: If the soft tokens do not have the width that this receiver reads.
            UsageError: If a deep prefix and the tokens after it exceed the attention window.
        """
        if soft is not None and soft.shape[-1] != self.soft_width:
            raise ShapeError(
                f"Soft tokens have width {soft.shape[-1]}, but '{self.lm.name}' reads "
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
            start = PromptStart(soft.shape[1], unpack_prefix(self.lm, soft))
            rows = self._rows(prompts, None, extras, skip=0)
            return self._forward(rows, start, owners, use_cache=use_cache)
        k = 0 if soft is None else soft.shape[1]
        n_static = self._n_shared(prompts)
        sizes = [len(p.before) + len(p.after) - n_static + k for p in prompts]
        n_after = sum(sizes) + sum(map(len, extras))
        fits = longest + k <= self.lm.window
        concatenate = not use_cache and _should_concatenate(n_static, n_after, len(prompts), fits)
        shared = self._shared(prompts[0].before[:n_static]) if fits or concatenate else None
        rows = self._rows(prompts, soft, extras, skip=n_static if shared else 0)
        if shared and concatenate:
            return self._forward_concatenated(rows, shared, owners)
        return self._forward(rows, shared, owners, use_cache=use_cache)

    def _rows(
        self,
        prompts: Sequence[Prompt],
        soft: Tensor | None,
        extras: Sequence[Sequence[int]],
        skip: int,
    ) -> list[Tensor]:
        """Embed each row without its first `skip` tokens, (u, dr), in one call for all rows."""
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
        """Return the number of leading tokens that all prompts share."""
        first = prompts[0]
        ids = first.before[: first.n_static]
        same = all(p.n_static == first.n_static and p.before[: len(ids)] == ids for p in prompts)
        # Processes that share a sharded model must all run the same passes.
        return len(ids) if same and not self.lm.is_sharded else 0

    def _shared(self, ids: tuple[int, ...]) -> PromptStart | None:
        """Return the shared start of all prompts, computed once; None if it is empty."""
        if not ids:
            return None
        if ids not in self._starts:
            self._starts[ids] = self._prefill(ids)
            while len(self._starts) > 1 and sum(map(len, self._starts)) > _MAX_KEPT_TOKENS:
                self._starts.popitem(last=False)
        self._starts.move_to_end(ids)
        return self._starts[ids]

    @torch.no_grad()
    def _prefill(self, ids: tuple[int, ...]) -> PromptStart:
        architecture = self.lm.architecture
        embedded = self.lm.embed(torch.tensor(ids)[None])
        out = architecture.decoder(inputs_embeds=embedded, use_cache=True)
        return PromptStart(len(ids), architecture.cached(out.past_key_values))

    def _forward(
        self,
        rows: Sequence[Tensor],
        start: PromptStart | None,
        owners: Sequence[Sequence[int]] | None = None,
        *,
        use_cache: bool,
    ) -> ForwardOutput:
        """Run rows as a left-padded batch."""
        n_start = start.length if start else 0
        x, mask = _padded_left(rows), _mask(rows, n_start)
        is_padded = not bool(mask.all())
        positions = (mask.long().cumsum(1) - 1).clamp(min=0)[:, n_start:].to(x.device)
        mask = mask.to(x.device)
        attention: Any = mask.long() if is_padded else None
        if owners is not None:
            attention, positions = self._branch_masks(mask, owners, n_start)
        architecture, cache = self.lm.architecture, None
        if start or use_cache:
            cache = architecture.new_cache(start.layers if start else (), len(rows))
        if start and not use_cache:
            make_read_only(cache)
        out = architecture.decoder(
            inputs_embeds=x,
            attention_mask=attention,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return ForwardOutput(out.last_hidden_state, mask, out.past_key_values, is_padded)

    def _forward_concatenated(
        self, rows: Sequence[Tensor], start: PromptStart, owners: Sequence[Sequence[int]] | None
    ) -> ForwardOutput:
        """Run rows as one concatenated sequence after a single copy of their shared start.

        There is no padding between start and rows, so the result is also correct beyond the
        attention window.
        """
        sizes = [len(row) for row in rows]
        owner = torch.full((sum(sizes),), -1)
        for end, each in zip(accumulate(sizes), owners or ()):
            owner[end - len(each) : end] = torch.tensor(each, dtype=torch.long)
        allowed, positions = row_attention(sizes, owner.to(self.lm.device))
        first = torch.arange(start.length, device=positions.device)
        at = torch.cat([first, start.length + positions])  # position of every key
        architecture = self.lm.architecture

        def mask_for(window: int | None) -> Tensor:
            n_cached = architecture.n_cached(start.length, window)
            seen = torch.cat([allowed.new_ones(len(allowed), n_cached), allowed], dim=1)
            if window is not None:
                seen &= at[start.length - n_cached :] > start.length + positions[:, None] - window
            return additive_mask(seen[None], self.lm.dtype)

        cache = architecture.new_cache(start.layers)
        make_read_only(cache)
        out = architecture.decoder(
            inputs_embeds=torch.cat([*rows])[None],
            attention_mask=architecture.attention_masks(mask_for, int(at.max()) + 1),
            position_ids=(start.length + positions)[None],
            past_key_values=cache,
            use_cache=True,
        )
        hidden = _padded_left(torch.split(out.last_hidden_state[0], sizes))
        mask = _mask(rows, start.length)
        return ForwardOutput(hidden, mask.to(hidden.device), cache, not bool(mask.all()))

    def _branch_masks(
        self, mask: Tensor, owners: Sequence[Sequence[int]], n_start: int
    ) -> tuple[Any, Tensor]:
        """Return attention masks and positions after the start, for rows that end in branches."""
        owner = torch.full(mask.shape, -1, dtype=torch.long)
        for i, each in enumerate(owners):
            owner[i, mask.shape[1] - len(each) :] = torch.tensor(each, dtype=torch.long)
        allowed, positions = branch_attention(mask, owner.to(mask.device))

        def mask_for(window: int | None) -> Tensor:
            seen = allowed
            if window is not None:
                seen = seen & (positions[:, None, :] > positions[:, :, None] - window)
            return additive_mask(seen[:, n_start:], self.lm.dtype)

        masks = self.lm.architecture.attention_masks(mask_for, int(positions.max()) + 1)
        return masks, positions[:, n_start:]

    def head(self, hidden: Float[Tensor, "b a d"]) -> Float[Tensor, "b a v"]:
        """Return the logits of last hidden states over the whole vocabulary."""
        return self.lm.architecture.logits(hidden)

    def log_likelihoods(
        self, hidden: Float[Tensor, "n d"], targets: Int[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """Return the log-likelihood in nats of one target token after each state.

        Logits of at most MAX_HEAD_POSITIONS positions are in memory at once.
        """
        return torch.cat(
            [
                self.head(h[None])[0].float().log_softmax(-1).gather(1, t[:, None])[:, 0]
                for h, t in zip(
                    torch.split(hidden, MAX_HEAD_POSITIONS),
                    torch.split(targets, MAX_HEAD_POSITIONS),
                )
            ]
        )


def _should_concatenate(n_static: int, n_after: int, n_rows: int, fits: bool) -> bool:
    """Return whether concatenated rows are faster than a batch.

    Within the attention window, concatenation saves copies of the shared start, but also computes
    the masked attention scores between rows. Beyond the window, the start would have to be
    read again for every row.

    Args:
        n_static: Number of tokens of the shared start.
        n_after: Number of tokens after it, summed over rows.
        n_rows: Number of rows.
        fits: Whether every layer can attend to a whole row.
    """
    if fits:
        return n_rows > 1 and n_after <= _MAX_ROW_RATIO * n_static
    return n_after <= n_rows * n_static


def _padded_left(rows: Sequence[Float[Tensor, "u d"]]) -> Float[Tensor, "b u d"]:
    longest = max(map(len, rows))
    return torch.stack([F.pad(row, (0, 0, longest - len(row), 0)) for row in rows])


def _mask(rows: Sequence[Tensor], start: int) -> Bool[Tensor, "b n"]:
    """Return a mask that is True at real tokens, on the CPU to avoid synchronizing a GPU."""
    longest = max(map(len, rows))
    mask = torch.ones(len(rows), start + longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        mask[i, start : start + longest - len(row)] = False
    return mask
