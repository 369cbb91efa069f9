"""Learned queries that read the sender states by cross-attention."""

from __future__ import annotations

from typing import Any

from torch import nn

from latentwire.bridge.base import BRIDGES
from latentwire.bridge.blocks import ReadingBlock
from latentwire.bridge.latent_bridge import LatentBridge


@BRIDGES.add("perceiver")
class PerceiverBridge(LatentBridge):
    """k learned queries attend to the t sender tokens, then to each other.

    Args:
        width: Size of a latent.
        depth: Blocks of cross-attention, self-attention and feed-forward.
        heads: Attention heads; must divide `width`.
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
        gain: float = 0.3,
        dropout: float = 0.2,
        **sizes: Any,
    ) -> None:
        super().__init__(width=width, heads=heads, gain=gain, dropout=dropout, **sizes)
        self.blocks = nn.ModuleList(ReadingBlock(width, heads) for _ in range(depth))
