"""Learned queries that read the sender states by cross-attention."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES, Bridge
from latentwire.bridge.pooling import masked_mean
from latentwire.errors import ConfigError


@BRIDGES.add("perceiver")
class PerceiverBridge(Bridge):
    """k learned queries attend to the t sender tokens, then to each other.

    A linear path from the mean state runs beside them: it carries from the first step what
    attention has to learn to find.

    Args:
        width: Size of a latent.
        depth: Blocks of cross-attention, self-attention and feed-forward.
        heads: Attention heads; must divide `width`.
        mean_path: Whether the linear path from the mean state is there.
        gain: Size of the offsets at the start, in units of the embedding scale.
        dropout: Share of the standardised state's features that training drops, 0..1.
    """

    kind = "perceiver"
    about = "learned queries, cross-attention over sender tokens"
    source = "Jaegle et al. 2021, Perceiver IO, arXiv:2107.14795"

    def __init__(
        self,
        *,
        width: int = 320,
        depth: int = 1,
        heads: int = 8,
        mean_path: bool = True,
        gain: float = 0.3,
        dropout: float = 0.2,
        **sizes: Any,
    ) -> None:
        super().__init__(**sizes)
        if width % heads:
            raise ConfigError(f"perceiver: width {width} is not a multiple of heads {heads}.")
        features = self.n_layers * self.sender_width
        self.drop = nn.Dropout(dropout)
        self.reading = nn.Linear(features, width)
        self.queries = nn.Parameter(torch.randn(self.soft_tokens, width) * 0.5)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.writing = nn.Linear(width, self.receiver_width, bias=False)
        nn.init.normal_(self.writing.weight, std=gain * width**-0.5)
        self.mean_path: nn.Linear | None = None
        if mean_path:
            self.mean_path = nn.Linear(features, self.receiver_width, bias=False)
            nn.init.normal_(self.mean_path.weight, std=gain * features**-0.5)

    def mix(
        self, x: Float[Tensor, "b l t ds"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k dr"]:
        x = self.drop(x)
        tokens = self.reading(rearrange(x, "b l t d -> b t (l d)"))
        latents = self.queries.expand(len(x), -1, -1)
        for block in self.blocks:
            latents = block(latents, tokens, mask)
        offsets = self.writing(self.norm(latents))
        if self.mean_path is not None:
            mean = rearrange(masked_mean(x, mask), "b l d -> b 1 (l d)")
            offsets = offsets + self.mean_path(mean)
        return offsets  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.cross, self.self_ = _Attention(width, heads), _Attention(width, heads)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.feed = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, latents: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        latents = latents + self.cross(self.norms[0](latents), tokens, mask)
        normed = self.norms[1](latents)
        latents = latents + self.self_(normed, normed, None)
        return latents + self.feed(self.norms[2](latents))  # type: ignore[no-any-return]


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.out = nn.Linear(width, width), nn.Linear(width, width)
        # A bias on keys would get no gradient: softmax does not see a common shift.
        self.kv = nn.Linear(width, 2 * width, bias=False)

    def forward(self, queries: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        q = rearrange(self.q(queries), "b k (h d) -> b h k d", h=self.heads)
        k, v = rearrange(self.kv(tokens), "b t (n h d) -> n b h t d", n=2, h=self.heads)
        keep = None if mask is None else mask[:, None, None, :]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=keep)
        return self.out(rearrange(y, "b h k d -> b k (h d)"))  # type: ignore[no-any-return]
