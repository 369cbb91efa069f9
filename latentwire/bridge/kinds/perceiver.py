"""Learned queries that read the sender states by cross-attention."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES, Bridge
from latentwire.bridge.blocks import ReadingBlock, linear_with_gain
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
        # Not a LatentBridge: logged results rest on the order in which these weights are drawn.
        if width % heads:
            raise ConfigError(f"perceiver: width {width} is not a multiple of heads {heads}.")
        features = self.n_layers * self.sender_width
        self.drop = nn.Dropout(dropout)
        self.reading = nn.Linear(features, width)
        self.queries = nn.Parameter(torch.randn(self.soft_tokens, width) * 0.5)
        self.blocks = nn.ModuleList(ReadingBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.writing = linear_with_gain(width, self.receiver_width, gain)
        self.mean_path: nn.Linear | None = None
        if mean_path:
            self.mean_path = linear_with_gain(features, self.receiver_width, gain)

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
