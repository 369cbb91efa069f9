"""Entropic optimal transport of sender tokens to soft tokens."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES
from latentwire.bridge.blocks import feed_forward
from latentwire.bridge.latent_bridge import LatentBridge
from latentwire.core.errors import ConfigError


@BRIDGES.add("optimal_transport")
class OptimalTransportBridge(LatentBridge):
    """A transport plan that assigns an equal share of the text to each soft token.

    Attention may use one token k times and ignore others. A transport plan uses each token once.

    Args:
        epsilon: Entropy regularization, in units of the cost (1 - cosine similarity, 0..2), > 0.
        iterations: Number of Sinkhorn iterations, at least 1.
        width, gain, dropout: See LatentBridge.
    """

    kind = "optimal_transport"
    about = "a Sinkhorn plan assigns sender tokens to soft tokens"
    source = "Cuturi 2013, Sinkhorn Distances, arXiv:1306.0895"

    def __init__(
        self,
        *,
        width: int = 320,
        epsilon: float = 0.1,
        iterations: int = 10,
        gain: float = 0.3,
        dropout: float = 0.2,
        **sizes: Any,
    ) -> None:
        super().__init__(width=width, heads=1, gain=gain, dropout=dropout, **sizes)
        if epsilon <= 0 or iterations < 1:
            raise ConfigError(
                f"optimal_transport: epsilon is {epsilon}, iterations {iterations}; "
                "epsilon must be > 0 and iterations >= 1."
            )
        self.epsilon, self.iterations = epsilon, iterations
        self.keying = nn.Linear(width, width, bias=False)
        self.feed_norm, self.feed = nn.LayerNorm(width), feed_forward(width)

    def read(
        self, tokens: Float[Tensor, "b t w"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k w"]:
        keys = F.normalize(self.keying(tokens), dim=-1)
        cost = 1 - F.normalize(self.queries, dim=-1) @ keys.transpose(1, 2)  # (b, k, t)
        plan = sinkhorn(cost, mask, self.epsilon, self.iterations)
        latents = self.queries + self.soft_tokens * plan @ tokens
        return latents + self.feed(self.feed_norm(latents))  # type: ignore[no-any-return]


def sinkhorn(
    cost: Float[Tensor, "b k t"], mask: Bool[Tensor, "b t"], epsilon: float, iterations: int
) -> Float[Tensor, "b k t"]:
    """Compute a transport plan between k equal bins and the n real tokens, in log space.

    Rows sum to 1/k up to rounding, and columns approach 1/n with more iterations. Log space keeps
    the potentials finite where exp(-cost / epsilon) would underflow.

    Args:
        cost: Cost of each pair; finite at real tokens.
        mask: True at real tokens, at least one per row; padding gets no mass.
        epsilon: Entropy regularization, in units of the cost.
        iterations: Number of iterations, each of one column and one row update.
    Source: Cuturi 2013, arXiv:1306.0895, algorithm 1; Peyre & Cuturi 2019, Computational Optimal
        Transport, arXiv:1803.00567, section 4.4 (log domain).
    """
    hidden = ~mask[:, None]
    kernel = (-cost / epsilon).masked_fill(hidden, 0.0)
    rows_log = -math.log(cost.shape[1])
    columns_log = -mask.sum(1, keepdim=True).to(cost.dtype).log()[:, None]  # (b, 1, 1)
    by_row = kernel.new_zeros(*kernel.shape[:2], 1)
    for _ in range(iterations):
        by_column = columns_log - (kernel + by_row).logsumexp(1, keepdim=True)  # (b, 1, t)
        # -inf is used only in sums over tokens and is never subtracted.
        by_column = by_column.masked_fill(hidden, -torch.inf)
        by_row = rows_log - (kernel + by_column).logsumexp(2, keepdim=True)  # (b, k, 1)
    # The last row update as a softmax has exact row sums, even with very large potentials.
    return (kernel + by_column).softmax(2) / cost.shape[1]
