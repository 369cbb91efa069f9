"""Linear bridge: a low-rank linear map of the mean state."""

from __future__ import annotations

from typing import Any

from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES, Bridge
from latentwire.bridge.pooling import masked_mean


@BRIDGES.add("linear")
class LinearBridge(Bridge):
    """A low-rank linear map from the mean sender state to all soft tokens.

    Args:
        rank: Rank of the map.
        gain: Initial size of the offsets, in units of the embedding scale.
    """

    kind = "linear"
    about = "mean state -> low-rank linear map"
    source = "Liu et al. 2023, LLaVA, arXiv:2304.08485 (linear projector)"

    def __init__(self, *, rank: int = 256, gain: float = 0.3, **sizes: Any) -> None:
        super().__init__(**sizes)
        self.down = nn.Linear(self.n_layers * self.sender_width, rank)
        self.up = nn.Linear(rank, self.soft_tokens * self.receiver_width, bias=False)
        nn.init.normal_(self.down.weight, std=self.down.in_features**-0.5)
        nn.init.normal_(self.up.weight, std=gain * rank**-0.5)

    def mix(
        self, x: Float[Tensor, "b l t ds"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k dr"]:
        mean = rearrange(masked_mean(x, mask), "b l d -> b (l d)")
        offsets: Tensor = rearrange(
            self.up(self.down(mean)), "b (k d) -> b k d", k=self.soft_tokens
        )
        return offsets
