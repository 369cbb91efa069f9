"""Mean pooling of k segments of the text, each mapped to one soft token."""

from __future__ import annotations

from typing import Any

from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES, Bridge
from latentwire.bridge.blocks import linear_with_gain
from latentwire.bridge.pooling import segment_mean


@BRIDGES.add("mean_pool")
class MeanPoolBridge(Bridge):
    """A linear map of the mean state of segment j to soft token j.

    All segments share one map. Unlike `linear`, this keeps the order of the text.

    Args:
        gain: Initial size of the offsets, in units of the embedding scale.
        dropout: Dropout probability of the state features, 0..1.
    """

    kind = "mean_pool"
    about = "mean states of k segments -> one linear map"
    source = "Liu et al. 2023, LLaVA, arXiv:2304.08485 (one linear map for every patch)"

    def __init__(self, *, gain: float = 0.3, dropout: float = 0.2, **sizes: Any) -> None:
        super().__init__(**sizes)
        self.drop = nn.Dropout(dropout)
        self.writing = linear_with_gain(
            self.n_layers * self.sender_width, self.receiver_width, gain
        )

    def mix(
        self, x: Float[Tensor, "b l t ds"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k dr"]:
        tokens = rearrange(self.drop(x), "b l t d -> b t (l d)")
        return self.writing(segment_mean(tokens, mask, self.soft_tokens))  # type: ignore[no-any-return]
