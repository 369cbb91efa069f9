"""Base class of bridges with latents: states -> tokens -> k latents -> offsets."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.base import Bridge
from latentwire.bridge.blocks import linear_with_gain
from latentwire.bridge.pooling import masked_mean
from latentwire.core.errors import ConfigError


class LatentBridge(Bridge):
    """Base class of bridges that compute k latents from the sender tokens.

    A subclass defines `blocks`, or overrides `read` or `mix`. A linear path from the mean state
    runs parallel to the latents and is useful from the first step, before attention is trained.

    Args:
        width: Width of the latents.
        heads: Number of attention heads; must divide `width`.
        gain: Initial size of the offsets, in units of the embedding scale.
        dropout: Dropout probability of the state features, 0..1.
        features: Width of a token's state in `encode`; by default all layers concatenated.
        written: Width of the result of `offsets`; the receiver's width by default.
        sizes: Sizes of the pair, see Bridge.
    Raises: ConfigError: If `heads` does not divide `width`.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        gain: float,
        dropout: float,
        features: int | None = None,
        written: int | None = None,
        **sizes: Any,
    ) -> None:
        super().__init__(**sizes)
        self.blocks: nn.ModuleList
        if width % heads:
            raise ConfigError(f"{self.kind}: width {width} is not a multiple of heads {heads}.")
        features = features or self.n_layers * self.sender_width
        written = written or self.receiver_width
        self.drop = nn.Dropout(dropout)
        self.reading = nn.Linear(features, width)
        self.queries = nn.Parameter(torch.randn(self.soft_tokens, width) * 0.5)
        self.norm = nn.LayerNorm(width)
        self.writing = linear_with_gain(width, written, gain)
        self.mean_path = linear_with_gain(features, written, gain)

    def read(
        self, tokens: Float[Tensor, "b t w"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k w"]:
        """Compute latents from the tokens, by default with `blocks` applied to the queries.

        Args:
            tokens: Sender states projected to the bridge's width, finite at padding. The result
                must not depend on padding.
            mask: True at real tokens.
        """
        latents = self.queries.expand(len(tokens), -1, -1)
        for block in self.blocks:
            latents = block(latents, tokens, mask)
        return latents

    def mix(
        self, x: Float[Tensor, "b l t ds"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k dr"]:
        tokens, mean = self.encode(x, mask)
        return self.offsets(self.read(tokens, mask), mean)

    def encode(
        self, x: Float[Tensor, "b l t d"], mask: Bool[Tensor, "b t"]
    ) -> tuple[Float[Tensor, "b t w"], Float[Tensor, "b f"]]:
        """Project states to tokens of the bridge's width; also return each text's mean state."""
        x = self.drop(x)
        tokens = self.reading(rearrange(x, "b l t d -> b t (l d)"))
        return tokens, rearrange(masked_mean(x, mask), "b l d -> b (l d)")

    def offsets(
        self, latents: Float[Tensor, "b k w"], mean: Float[Tensor, "b f"]
    ) -> Float[Tensor, "b k dr"]:
        """Compute offsets from latents and mean state, in units of the embedding scale."""
        return self.writing(self.norm(latents)) + self.mean_path(mean)[:, None]  # type: ignore[no-any-return]
