"""Keys and values for every layer of the receiver, made from the sender's states."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.bridge.base import BRIDGES, PairFacts
from latentwire.bridge.blocks import ReadingBlock, linear_with_gain
from latentwire.bridge.latent_bridge import LatentBridge
from latentwire.core.errors import ConfigError


@BRIDGES.add("deep_prefix")
class DeepPrefixBridge(LatentBridge):
    """Prefix tuning whose prefix depends on the text: every layer reads the message itself.

    A soft token is one prefix position: its keys and values in all layers, side by side. Learned
    queries read the sender's tokens; what they found and the mean state become a short code, and
    one linear map makes offsets of all layers from it. The prefix starts at the keys and values
    that the receiver has for the anchors. Every head keeps the unit of its real ones, but no
    length is prescribed: how long a key is says how firmly it is attended to.

    Args:
        width: Size of a latent.
        depth: Blocks of cross-attention, self-attention and feed-forward.
        heads: Attention heads; must divide `width`.
        rank: Size of the code between latents and offsets.
        gain: Size of the offsets at the start, in units of each head's keys or values.
        dropout: Share of the standardised state's features that training drops, 0..1.
    Raises: ConfigError: If `rank` is below 1.
    """

    kind = "deep_prefix"
    about = "keys and values for every receiver layer"
    source = (
        "Li & Liang 2021, Prefix-Tuning, arXiv:2101.00190; "
        "Liu et al. 2022, P-Tuning v2, arXiv:2110.07602"
    )
    wants = frozenset({"prefix"})
    writes = "prefix"

    def __init__(
        self,
        *,
        width: int = 320,
        depth: int = 1,
        heads: int = 8,
        rank: int = 128,
        gain: float = 0.3,
        dropout: float = 0.2,
        **sizes: Any,
    ) -> None:
        if rank < 1:
            raise ConfigError(f"deep_prefix: rank is {rank}; it must be at least 1.")
        super().__init__(width=width, heads=heads, gain=1.0, dropout=dropout, written=rank, **sizes)
        self.blocks = torch.nn.ModuleList(ReadingBlock(width, heads) for _ in range(depth))
        self.expanding = linear_with_gain(rank, self.receiver_width, gain)
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(self.receiver_width))

    def offsets(
        self, latents: Float[Tensor, "b k w"], mean: Float[Tensor, "b f"]
    ) -> Float[Tensor, "b k dr"]:
        """Offsets from latents and the mean state, in units of each head's keys or values."""
        return self.expanding(super().offsets(latents, mean))  # type: ignore[no-any-return]

    def write(self, offsets: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        """Packed keys and values; each head has the scale of its real ones."""
        return self.scale * (self.anchors + offsets)

    def start(self, facts: PairFacts) -> None:
        assert facts.prefix is not None  # calibrate has looked
        self.scale.copy_(facts.prefix.scale)
        self.anchors.copy_(facts.prefix.start / facts.prefix.scale)
