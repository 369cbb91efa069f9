"""The text in k segments; the mean state of each becomes one soft token by a linear map."""

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
    """Soft token j says what segment j of the text says, as patches of an image would.

    All segments share one map: unlike `linear`, order in the text is order in the message.

    Args:
        gain: Size of the offsets at the start, in units of the embedding scale.
        dropout: Share of the standardised state's features that training drops, 0..1.
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
