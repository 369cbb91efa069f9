"""Deep prefix: keys and values for every layer of the receiver."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.bridge.base import BRIDGES
from latentwire.bridge.blocks import ReadingBlock, linear_with_gain
from latentwire.bridge.latent_bridge import LatentBridge
from latentwire.bridge.pair_facts import PairFacts
from latentwire.core.errors import ConfigError


@BRIDGES.add("deep_prefix")
class DeepPrefixBridge(LatentBridge):
    """Prefix tuning with a prefix that depends on the text.

    A soft token is one prefix position: the concatenated keys and values of all layers. Learned
    queries attend to the sender tokens. Their latents and the mean state are projected to a short
    code, and one linear map turns the code into offsets of all layers. The anchors are the keys and
    values that the receiver computes for real embeddings. Offsets are in units of each head's real
    keys or values, but the result is not normalized, because the norm of a key determines how
    strongly it is attended to.

    Args:
        depth: Number of blocks of cross-attention, self-attention and feed-forward.
        rank: Width of the code between latents and offsets.
        gain: Initial size of the offsets, in units of each head's keys or values.
        width, heads, dropout: See LatentBridge.
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
            raise ConfigError(f"deep_prefix: rank is {rank}; it must be >= 1.")
        super().__init__(width=width, heads=heads, gain=1.0, dropout=dropout, written=rank, **sizes)
        self.blocks = torch.nn.ModuleList(ReadingBlock(width, heads) for _ in range(depth))
        self.expanding = linear_with_gain(rank, self.receiver_width, gain)
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(self.receiver_width))

    def offsets(
        self, latents: Float[Tensor, "b k w"], mean: Float[Tensor, "b f"]
    ) -> Float[Tensor, "b k dr"]:
        """Compute offsets from latents and mean state, in units of each head's keys or values."""
        return self.expanding(super().offsets(latents, mean))  # type: ignore[no-any-return]

    def write(self, offsets: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        """Packed keys and values, at the scale of each head's real keys and values."""
        return self.scale * (self.anchors + offsets)

    def initialize_anchors(self, facts: PairFacts) -> None:
        assert facts.prefix is not None  # checked by initialize
        self.scale.copy_(facts.prefix.scale)
        self.anchors.copy_(facts.prefix.values / facts.prefix.scale)
