"""Learned weighted average of sender layers, read by learned queries."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES
from latentwire.bridge.blocks import ReadingBlock
from latentwire.bridge.latent_bridge import LatentBridge


@BRIDGES.add("multi_layer")
class MultiLayerBridge(LatentBridge):
    """Learned weighted average of sender layers, then learned queries.

    The width of the projection does not depend on the number of layers.

    Args:
        depth: Number of blocks of cross-attention, self-attention and feed-forward.
        width, heads, gain, dropout: See LatentBridge.
    """

    kind = "multi_layer"
    about = "learned average of sender layers, then learned queries"
    source = "Peters et al. 2018, ELMo, arXiv:1802.05365, section 3.2 (scalar mix)"

    def __init__(
        self,
        *,
        width: int = 320,
        depth: int = 1,
        heads: int = 8,
        gain: float = 0.3,
        dropout: float = 0.2,
        **sizes: Any,
    ) -> None:
        super().__init__(
            width=width,
            heads=heads,
            gain=gain,
            dropout=dropout,
            features=sizes["sender_width"],
            **sizes,
        )
        # A single layer needs no weight: the softmax of one value is always 1.
        self.layer_logits: nn.Parameter | None = None
        if self.n_layers > 1:
            self.layer_logits = nn.Parameter(torch.zeros(self.n_layers))
        self.blocks = nn.ModuleList(ReadingBlock(width, heads) for _ in range(depth))

    @property
    def layer_weights(self) -> Float[Tensor, " l"]:
        """Weight of each sender layer; they sum to 1."""
        if self.layer_logits is None:
            return torch.ones(1, device=self.anchors.device)
        return self.layer_logits.softmax(0)

    def encode(
        self, x: Float[Tensor, "b l t d"], mask: Bool[Tensor, "b t"]
    ) -> tuple[Float[Tensor, "b t w"], Float[Tensor, "b f"]]:
        mixed = torch.einsum("l,bltd->btd", self.layer_weights, x)
        return super().encode(mixed[:, None], mask)
