"""Perceiver: learned queries with cross-attention to the sender states."""

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
        depth: Number of blocks of cross-attention, self-attention and feed-forward.
        width, heads, gain, dropout: See LatentBridge.
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
