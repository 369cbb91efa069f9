"""Multi-layer perceptron from the mean state to all soft tokens."""

from __future__ import annotations

from typing import Any

from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES, Bridge
from latentwire.bridge.blocks import linear_with_gain
from latentwire.bridge.pooling import masked_mean
from latentwire.core.errors import ConfigError


@BRIDGES.add("mlp")
class MlpBridge(Bridge):
    """A multi-layer perceptron from the mean sender state to all soft tokens.

    The comparison with `linear` shows the effect of non-linearity, and with `perceiver` that of
    attention.

    Args:
        width: Width of the hidden layers.
        depth: Number of hidden layers, at least 1.
        gain: Initial size of the offsets, in units of the embedding scale.
        dropout: Dropout probability of the mean state's features, 0..1.
    """

    kind = "mlp"
    about = "mean state -> multi-layer perceptron"
    source = "Liu et al. 2024, LLaVA-1.5, arXiv:2310.03744 (MLP projector)"

    def __init__(
        self,
        *,
        width: int = 512,
        depth: int = 2,
        gain: float = 0.3,
        dropout: float = 0.2,
        **sizes: Any,
    ) -> None:
        super().__init__(**sizes)
        if depth < 1:
            raise ConfigError(f"mlp: depth is {depth}; it must be >= 1.")
        layers: list[nn.Module] = [nn.Dropout(dropout)]
        n_in = self.n_layers * self.sender_width
        for _ in range(depth):
            layers += [nn.Linear(n_in, width), nn.GELU()]
            n_in = width
        self.hidden = nn.Sequential(*layers, nn.LayerNorm(width))
        self.writing = linear_with_gain(width, self.soft_tokens * self.receiver_width, gain)

    def mix(
        self, x: Float[Tensor, "b l t ds"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k dr"]:
        mean = rearrange(masked_mean(x, mask), "b l d -> b (l d)")
        offsets: Tensor = rearrange(
            self.writing(self.hidden(mean)), "b (k d) -> b k d", k=self.soft_tokens
        )
        return offsets
