"""Blocks that a router lets only some sender tokens through; then queries read them all."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES
from latentwire.bridge.blocks import Attention, feed_forward
from latentwire.bridge.latent_bridge import LatentBridge
from latentwire.core.errors import ConfigError


@BRIDGES.add("mixture_of_depths")
class MixtureOfDepthsBridge(LatentBridge):
    """Spend computation on the tokens that deserve it.

    Args:
        width: Size of a token.
        depth: Routed blocks.
        capacity: Share of a text's tokens that each block works on, > 0 and <= 1.
        heads: Attention heads; must divide `width`.
        gain: Size of the offsets at the start, in units of the embedding scale.
        dropout: Share of the standardised state's features that training drops, 0..1.
    Raises: ConfigError: If `capacity` is not in its range.
    """

    kind = "mixture_of_depths"
    about = "a router sends a share of the tokens through each block"
    source = "Raposo et al. 2024, Mixture-of-Depths, arXiv:2404.02258, section 3"

    def __init__(
        self,
        *,
        width: int = 320,
        depth: int = 2,
        capacity: float = 0.25,
        heads: int = 8,
        gain: float = 0.3,
        dropout: float = 0.2,
        **sizes: Any,
    ) -> None:
        super().__init__(width=width, heads=heads, gain=gain, dropout=dropout, **sizes)
        if not 0 < capacity <= 1:
            raise ConfigError(f"mixture_of_depths: capacity is {capacity}; give 0 < capacity <= 1.")
        self.routed = nn.ModuleList(_RoutedBlock(width, heads, capacity) for _ in range(depth))
        self.cross, self.tokens_norm = Attention(width, heads), nn.LayerNorm(width)

    def read(
        self, tokens: Float[Tensor, "b t w"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k w"]:
        for block in self.routed:
            tokens = block(tokens, mask)
        latents = self.queries.expand(len(tokens), -1, -1)
        return latents + self.cross(latents, self.tokens_norm(tokens), mask)  # type: ignore[no-any-return]


class _RoutedBlock(nn.Module):
    """One block and its router; tokens that are not chosen stay as they are, at no cost."""

    def __init__(self, width: int, heads: int, capacity: float) -> None:
        super().__init__()
        self.capacity = capacity
        self.router = nn.Linear(width, 1)
        self.inner = _Inner(width, heads)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        # A text's own length sets its share, so that padding does not change who is chosen.
        n_chosen = (mask.sum(1) * self.capacity).ceil().long()  # (b,)
        scores = self.router(tokens).squeeze(-1).masked_fill(~mask, -torch.inf)
        best, place = scores.topk(int(n_chosen.max()), dim=1)  # (b, c)
        keep = torch.arange(best.shape[1], device=mask.device) < n_chosen[:, None]
        place = place[..., None].expand(-1, -1, tokens.shape[-1])  # (b, c, w)
        change = self.inner(tokens.gather(1, place), keep)
        # Scaling by the score is the router's only way to a gradient: top-k itself has none.
        change = change * best.sigmoid()[..., None]
        return tokens.scatter_add(1, place, change.masked_fill(~keep[..., None], 0.0))


class _Inner(nn.Module):
    """What a transformer block adds to the rows that enter it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention, self.feed = Attention(width, heads), feed_forward(width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, rows: Tensor, keep: Tensor) -> Tensor:
        normed = self.norms[0](rows)
        attended = self.attention(normed, normed, keep)
        return attended + self.feed(self.norms[1](rows + attended))  # type: ignore[no-any-return]
