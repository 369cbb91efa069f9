"""Layers shared by several bridges. Masks are True at real tokens."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn


def linear_with_gain(n_in: int, n_out: int, gain: float) -> nn.Linear:
    """Create a linear layer without bias whose initial outputs have root mean square `gain`.

    Args:
        n_in: Width of the input, whose root mean square is about 1.
        n_out: Width of the output.
        gain: Initial root mean square of the output.
    """
    linear = nn.Linear(n_in, n_out, bias=False)
    nn.init.normal_(linear.weight, std=gain * n_in**-0.5)
    return linear


def feed_forward(width: int) -> nn.Sequential:
    """Create two linear layers with a GELU in between and a hidden width of 2 * width."""
    return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


class Attention(nn.Module):
    """Multi-head attention of queries over tokens.

    Args:
        width: Width of queries, tokens and outputs.
        heads: Number of attention heads; must divide `width`.
    Source: Vaswani et al. 2017, Attention Is All You Need, arXiv:1706.03762, section 3.2.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.out = nn.Linear(width, width), nn.Linear(width, width)
        # A bias of the keys would get no gradient: softmax ignores a common shift.
        self.kv = nn.Linear(width, 2 * width, bias=False)

    def forward(
        self,
        queries: Float[Tensor, "b k w"],
        tokens: Float[Tensor, "b t w"],
        mask: Bool[Tensor, "b t"] | None,
    ) -> Float[Tensor, "b k w"]:
        """Attend to the tokens; to all of them if there is no mask."""
        q = rearrange(self.q(queries), "b k (h d) -> b h k d", h=self.heads)
        k, v = rearrange(self.kv(tokens), "b t (n h d) -> n b h t d", n=2, h=self.heads)
        keep = None if mask is None else mask[:, None, None, :]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=keep)
        return self.out(rearrange(y, "b h k d -> b k (h d)"))  # type: ignore[no-any-return]


class ReadingBlock(nn.Module):
    """Cross-attention to the tokens, self-attention of the latents, then feed-forward.

    Args:
        width: Width of latents and tokens.
        heads: Number of attention heads; must divide `width`.
    Source: Jaegle et al. 2021, Perceiver IO, arXiv:2107.14795, section 3.1.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        # Saved bridges depend on these names; recorded results depend on the order of creation.
        self.cross, self.self_ = Attention(width, heads), Attention(width, heads)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.feed = feed_forward(width)

    def forward(
        self,
        latents: Float[Tensor, "b k w"],
        tokens: Float[Tensor, "b t w"],
        mask: Bool[Tensor, "b t"],
    ) -> Float[Tensor, "b k w"]:
        """Return the updated latents."""
        latents = latents + self.cross(self.norms[0](latents), tokens, mask)
        normed = self.norms[1](latents)
        latents = latents + self.self_(normed, normed, None)
        return latents + self.feed(self.norms[2](latents))  # type: ignore[no-any-return]


class TimeEmbedding(nn.Module):
    """Embedding of the time of a flow or diffusion step.

    Args:
        width: Width of the embedding.
    Source: Peebles & Xie 2023, DiT, arXiv:2212.09748, section 3.2 (sinusoids, then an MLP).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        half = max(width // 2, 1)
        self.frequencies: Tensor
        frequencies = torch.exp(-math.log(1e4) * torch.arange(half) / half)
        self.register_buffer("frequencies", 1000 * frequencies, persistent=False)
        self.layers = nn.Sequential(nn.Linear(2 * half, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, time: Float[Tensor, " b"]) -> Float[Tensor, "b w"]:
        """Embed times in 0..1."""
        angles = time[:, None] * self.frequencies
        return self.layers(torch.cat([angles.cos(), angles.sin()], dim=-1))  # type: ignore[no-any-return]
