"""Mixture of experts: cross-attention, then top-k routing of latents to experts."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES
from latentwire.bridge.blocks import Attention, feed_forward
from latentwire.bridge.latent_bridge import LatentBridge
from latentwire.core.errors import ConfigError


@BRIDGES.add("moe")
class MoeBridge(LatentBridge):
    """A perceiver whose feed-forward layer is a mixture of experts with top-k routing.

    Args:
        experts: Number of experts.
        top_k: Number of experts per latent, 1..experts.
        balance_weight: Weight of the auxiliary loss `balance`, which balances the load of experts.
        width, heads, gain, dropout: See LatentBridge.
    Raises: ConfigError: If `top_k` is out of range.
    """

    kind = "moe"
    about = "cross-attention, then the top-k of several experts"
    source = "Fedus et al. 2021, Switch Transformer, arXiv:2101.03961, section 2"

    def __init__(
        self,
        *,
        width: int = 320,
        experts: int = 4,
        top_k: int = 2,
        heads: int = 8,
        balance_weight: float = 0.01,
        gain: float = 0.3,
        dropout: float = 0.2,
        **sizes: Any,
    ) -> None:
        super().__init__(width=width, heads=heads, gain=gain, dropout=dropout, **sizes)
        if not 1 <= top_k <= experts:
            raise ConfigError(f"moe: top_k is {top_k}; it must be 1 to {experts}.")
        self.balance_weight = balance_weight
        self.cross = Attention(width, heads)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.experts = Experts(width, experts, top_k)

    def read(
        self, tokens: Float[Tensor, "b t w"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k w"]:
        latents = self.queries.expand(len(tokens), -1, -1)
        latents = latents + self.cross(self.norms[0](latents), tokens, mask)
        rows = rearrange(self.norms[1](latents), "b k w -> (b k) w")
        change, balance = self.experts(rows)
        self.note_loss("balance", self.balance_weight * balance)
        return latents + change.view_as(latents)  # type: ignore[no-any-return]


class Experts(nn.Module):
    """Feed-forward layers. A router selects some of them for each row; only these are run.

    Args:
        width: Width of the rows.
        n_experts: Number of experts.
        top_k: Number of experts per row.
    Source: Fedus et al. 2021, Switch Transformer, arXiv:2101.03961, section 2.1 and equation 4.
    """

    def __init__(self, width: int, n_experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.router = nn.Linear(width, n_experts, bias=False)
        self.layers = nn.ModuleList(feed_forward(width) for _ in range(n_experts))

    def forward(self, rows: Float[Tensor, "n w"]) -> tuple[Float[Tensor, "n w"], Float[Tensor, ""]]:
        """Weighted sum of the selected experts' outputs, and the load-balancing loss."""
        shares = self.router(rows).softmax(-1)
        weights, chosen = shares.topk(self.top_k)  # (n, top_k)
        if self.top_k > 1:  # a single weight would always be 1 and give the router no gradient
            weights = weights / weights.sum(-1, keepdim=True)
        out = torch.zeros_like(rows)
        for expert, layer in enumerate(self.layers):
            row, place = (chosen == expert).nonzero(as_tuple=True)
            if len(row):
                result = weights[row, place, None] * layer(rows[row])
                out = out.index_add(0, row, result)
        return out, load_balance(shares, chosen)


def load_balance(shares: Float[Tensor, "n e"], chosen: Tensor) -> Float[Tensor, ""]:
    """Load-balancing loss: 1 for equal loads, up to e if one expert has the whole load.

    Args:
        shares: Router probabilities.
        chosen: Indices of the selected experts, (n, top_k).
    Source: Fedus et al. 2021, Switch Transformer, arXiv:2101.03961, equation 4.
    """
    n_experts = shares.shape[1]
    load = F.one_hot(chosen.flatten(), n_experts).to(shares.dtype).mean(0)
    return n_experts * (load * shares.mean(0)).sum()
