"""Gated relay: a gate for each token and feature, then learned queries."""

from __future__ import annotations

from typing import Any

from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES
from latentwire.bridge.blocks import ReadingBlock
from latentwire.bridge.latent_bridge import LatentBridge
from latentwire.bridge.pooling import masked_mean


@BRIDGES.add("thalamic")
class ThalamicBridge(LatentBridge):
    """Gated sender tokens, then learned queries; named after the relay in the thalamus.

    The gates of a token depend on the token and on the mean of the text; initially about 0.5.

    Args:
        depth: Number of blocks that read the gated tokens.
        width, heads, gain, dropout: See LatentBridge.
    """

    kind = "thalamic"
    about = "gates per token and feature, then learned queries"
    source = (
        "Sherman & Guillery 2002, Phil. Trans. R. Soc. B 357 (thalamic relay); "
        "Dauphin et al. 2017, arXiv:1612.08083 (gated linear units)"
    )

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
        self.token_gate = nn.Linear(width, width)
        self.text_gate = nn.Linear(width, width, bias=False)
        self.blocks = nn.ModuleList(ReadingBlock(width, heads) for _ in range(depth))

    def read(
        self, tokens: Float[Tensor, "b t w"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k w"]:
        return super().read(self.gates(tokens, mask) * tokens, mask)

    def gates(
        self, tokens: Float[Tensor, "b t w"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b t w"]:
        """Gate of each feature of each token, 0..1."""
        text = masked_mean(rearrange(tokens, "b t w -> b 1 t w"), mask)  # (b, 1, w)
        return (self.token_gate(tokens) + self.text_gate(text)).sigmoid()  # type: ignore[no-any-return]
