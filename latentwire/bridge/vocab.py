"""Soft tokens that are mixtures of real embeddings of the receiver, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES, PairFacts
from latentwire.bridge.blocks import ReadingBlock
from latentwire.bridge.latent_bridge import LatentBridge
from latentwire.core.errors import ConfigError


@BRIDGES.add("vocab")
class VocabBridge(LatentBridge):
    """Queries choose, by softmax, among a table of the receiver's embeddings.

    Anchors and offsets are places to look from; the soft token is the convex mixture of the rows
    that are near. It is not brought to a length: a mixture of real embeddings has the receiver's
    scale already. Until the pair's embeddings are known the table is random.

    Args:
        width: Size of a latent.
        depth: Blocks of cross-attention, self-attention and feed-forward.
        heads: Attention heads; must divide `width`.
        table: Rows of the table: the k anchors, then the first embeddings of the calibration;
            they are repeated if there are fewer. Not trained, but saved with the bridge.
        sharpness: Factor on cosines in the softmax at the start; it is learned. At 10 a row that
            a query points straight at weighs five times as much as 4,096 unrelated ones together.
            Higher is purer and learns more slowly; a smaller table wants less.
        gain: Size of the offsets at the start, in units of the embedding scale; larger than
            elsewhere, since a softmax that is sure hardly answers to small ones.
        dropout: Share of the standardised state's features that training drops, 0..1.
    Raises: ConfigError: If the table is not larger than the message, or `sharpness` is not > 0.
    """

    kind = "vocab"
    about = "mixtures of the receiver's own embeddings"
    source = "Pham et al. 2024, CIPHER, arXiv:2310.06272 (averages of token embeddings as messages)"
    wants = frozenset({"embeddings"})

    def __init__(
        self,
        *,
        width: int = 320,
        depth: int = 1,
        heads: int = 8,
        table: int = 4096,
        sharpness: float = 10.0,
        gain: float = 0.6,
        dropout: float = 0.2,
        **sizes: Any,
    ) -> None:
        super().__init__(width=width, heads=heads, gain=gain, dropout=dropout, **sizes)
        if table <= self.soft_tokens or sharpness <= 0:
            raise ConfigError(
                f"vocab: table is {table}, sharpness {sharpness}; give a table of more than "
                f"{self.soft_tokens} rows (the soft tokens) and a sharpness > 0."
            )
        self.blocks = nn.ModuleList(ReadingBlock(width, heads) for _ in range(depth))
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(sharpness)))
        self.table: Tensor
        self.register_buffer("table", torch.randn(table, self.receiver_width))

    def write(self, offsets: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        """Mixtures of the table's rows, the nearest ones most."""
        # What all embeddings have in common would make every row look near.
        centre = self.table.mean(0)
        keys = F.normalize(self.table - centre, dim=-1)
        queries = F.normalize(self.anchors + offsets - centre, dim=-1)
        shares = (self.log_sharpness.exp() * queries @ keys.T).softmax(-1)  # (b, k, rows)
        return self.embedding_rms * (shares @ self.table)

    @torch.no_grad()
    def initialize(self, facts: PairFacts) -> None:
        super().initialize(facts)
        assert facts.embeddings is not None  # super() has looked
        n_rest = len(self.table) - self.soft_tokens
        turn = torch.arange(n_rest, device=facts.embeddings.device) % len(facts.embeddings)
        self.table[: self.soft_tokens] = self.anchors
        self.table[self.soft_tokens :] = facts.embeddings[turn] / facts.embedding_rms
