"""Soft tokens as weighted averages of real receiver embeddings."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES
from latentwire.bridge.blocks import ReadingBlock
from latentwire.bridge.latent_bridge import LatentBridge
from latentwire.bridge.pair_facts import PairFacts
from latentwire.core.errors import ConfigError


@BRIDGES.add("vocab")
class VocabBridge(LatentBridge):
    """Softmax attention over a table of the receiver's embeddings.

    Anchors plus offsets are the queries, and each soft token is a convex combination of the nearest
    rows. It is not normalized, because combinations of real embeddings are at the receiver's scale.
    Before initialization the table is random.

    Args:
        depth: Number of blocks of cross-attention, self-attention and feed-forward.
        table: Number of rows of the table: the k anchors, then embeddings from `PairFacts`,
            repeated if there are too few. The table is saved with the bridge, but not trained.
        sharpness: Initial factor of the cosine similarities in the softmax; it is trained. At 10, a
            row in the direction of the query has five times the weight of 4,096 unrelated rows
            together. Higher values give purer tokens and slower training; smaller tables need less.
        gain: Initial size of the offsets, in units of the embedding scale. Larger than in other
            bridges, because a sharp softmax hardly responds to small offsets.
        width, heads, dropout: See LatentBridge.
    Raises: ConfigError: If `table` is not larger than the number of soft tokens, or `sharpness` is
        not > 0.
    """

    kind = "vocab"
    about = "weighted averages of receiver embeddings"
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
                f"vocab: table is {table}, sharpness is {sharpness}; table must be > "
                f"{self.soft_tokens} (the number of soft tokens) and sharpness > 0."
            )
        self.blocks = nn.ModuleList(ReadingBlock(width, heads) for _ in range(depth))
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(sharpness)))
        self.table: Tensor
        self.register_buffer("table", torch.randn(table, self.receiver_width))

    def write(self, offsets: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        """Weighted averages of the rows of the table, by their similarity to the queries."""
        # The common component of all embeddings would make all rows look similar.
        centre = self.table.mean(0)
        keys = F.normalize(self.table - centre, dim=-1)
        queries = F.normalize(self.anchors + offsets - centre, dim=-1)
        shares = (self.log_sharpness.exp() * queries @ keys.T).softmax(-1)  # (b, k, rows)
        return self.embedding_rms * (shares @ self.table)

    @torch.no_grad()
    def initialize(self, facts: PairFacts) -> None:
        super().initialize(facts)
        assert facts.embeddings is not None  # checked by super()
        n_rows = len(self.table) - self.soft_tokens
        index = torch.arange(n_rows, device=facts.embeddings.device) % len(facts.embeddings)
        self.table[: self.soft_tokens] = self.anchors
        self.table[self.soft_tokens :] = facts.embeddings[index] / facts.embedding_rms
