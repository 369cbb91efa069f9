"""Mixture of depths: a router selects the sender tokens that each block processes."""

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
    """Blocks applied to selected tokens, then cross-attention of learned queries to all tokens.

    Args:
        depth: Number of routed blocks.
        capacity: Fraction of a text's tokens that each block processes, > 0 and <= 1.
        width, heads, gain, dropout: See LatentBridge.
    Raises: ConfigError: If `capacity` is out of range.
    """

    kind = "mixture_of_depths"
    about = "a router selects the tokens that each block processes"
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
            raise ConfigError(
                f"mixture_of_depths: capacity is {capacity}; it must be > 0 and <= 1."
            )
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
    """A block and its router. Tokens that are not selected are unchanged, at no cost."""

    def __init__(self, width: int, heads: int, capacity: float) -> None:
        super().__init__()
        self.capacity = capacity
        self.router = nn.Linear(width, 1)
        self.inner = _ResidualUpdate(width, heads)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        # The number depends on the length of each text, so that padding does not affect the choice.
        n_chosen = (mask.sum(1) * self.capacity).ceil().long()  # (b,)
        scores = self.router(tokens).squeeze(-1).masked_fill(~mask, -torch.inf)
        best, place = scores.topk(int(n_chosen.max()), dim=1)  # (b, c)
        keep = torch.arange(best.shape[1], device=mask.device) < n_chosen[:, None]
        place = place[..., None].expand(-1, -1, tokens.shape[-1])  # (b, c, w)
        change = self.inner(tokens.gather(1, place), keep)
        # Scaling by the score gives the router a gradient: top-k itself has none.
        change = change * best.sigmoid()[..., None]
        return tokens.scatter_add(1, place, change.masked_fill(~keep[..., None], 0.0))


class _ResidualUpdate(nn.Module):
    """The update that a transformer block adds to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention, self.feed = Attention(width, heads), feed_forward(width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, rows: Tensor, keep: Tensor) -> Tensor:
        normed = self.norms[0](rows)
        attended = self.attention(normed, normed, keep)
        return attended + self.feed(self.norms[1](rows + attended))  # type: ignore[no-any-return]
