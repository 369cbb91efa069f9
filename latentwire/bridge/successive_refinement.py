"""Successive refinement: coarse soft tokens from the mean state, then residuals."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES, Bridge
from latentwire.bridge.blocks import ReadingBlock, linear_with_gain
from latentwire.bridge.pooling import masked_mean
from latentwire.core.errors import ConfigError


@BRIDGES.add("successive_refinement")
class SuccessiveRefinementBridge(Bridge):
    """Coarse soft tokens from the mean state, refined by residuals in several stages.

    Each stage reads the current soft tokens and the sender states; its residuals are initially half
    as large as those of the previous stage. Some training examples stop at an early stage, which
    makes the result of each stage useful on its own.

    Args:
        width: Width of the latents.
        stages: Number of refinement stages, at least 0.
        rank: Rank of the map from the mean state to the coarse soft tokens.
        heads: Number of attention heads; must divide `width`.
        early: Fraction of training examples that stop before the last stage, 0..1.
        gain: Initial size of the offsets, in units of the embedding scale.
        dropout: Dropout probability of the state features, 0..1.
    """

    kind = "successive_refinement"
    about = "coarse soft tokens, then residual refinements"
    source = (
        "Equitz & Cover 1991, Successive Refinement of Information, IEEE Trans. Inf. Theory 37(2); "
        "Rippel et al. 2014, nested dropout, arXiv:1402.0915"
    )

    def __init__(
        self,
        *,
        width: int = 256,
        stages: int = 2,
        rank: int = 128,
        heads: int = 8,
        early: float = 0.25,
        gain: float = 0.3,
        dropout: float = 0.2,
        **sizes: Any,
    ) -> None:
        super().__init__(**sizes)
        if width % heads:
            raise ConfigError(f"{self.kind}: width {width} is not a multiple of heads {heads}.")
        features = self.n_layers * self.sender_width
        self.early, self.drop = early, nn.Dropout(dropout)
        self.coarse = nn.Sequential(
            linear_with_gain(features, rank, 1.0),
            linear_with_gain(rank, self.soft_tokens * self.receiver_width, gain),
        )
        self.reading = nn.Linear(features, width) if stages else None
        self.stages = nn.ModuleList(
            _Refinement(width, heads, self.soft_tokens, self.receiver_width, gain * 0.5 ** (i + 1))
            for i in range(stages)
        )

    def mix(
        self, x: Float[Tensor, "b l t ds"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k dr"]:
        x = self.drop(x)
        mean = rearrange(masked_mean(x, mask), "b l d -> b (l d)")
        offsets: Tensor = rearrange(self.coarse(mean), "b (k d) -> b k d", k=self.soft_tokens)
        if self.reading is None:
            return offsets
        tokens = self.reading(rearrange(x, "b l t d -> b t (l d)"))
        ends = self._last_stages(len(x), x.device)
        for index, stage in enumerate(self.stages, 1):
            more = stage(offsets, tokens, mask)
            offsets = offsets + more * (ends >= index)[:, None, None]
        return offsets

    def _last_stages(self, n: int, device: torch.device) -> Tensor:
        """Last stage of each example, (n,); earlier for some examples in training."""
        last = torch.full((n,), len(self.stages), device=device)
        if not self.training:
            return last
        sooner = torch.randint(len(self.stages), (n,), device=device)
        return torch.where(torch.rand(n, device=device) < self.early, sooner, last)


class _Refinement(nn.Module):
    """One refinement stage: computes a residual from the current soft tokens and the states."""

    def __init__(self, width: int, heads: int, k: int, receiver_width: int, gain: float) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(k, width) * 0.5)
        self.entering = nn.Linear(receiver_width, width, bias=False)
        self.block = ReadingBlock(width, heads)
        self.norm = nn.LayerNorm(width)
        self.writing = linear_with_gain(width, receiver_width, gain)

    def forward(self, offsets: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        latents = self.block(self.queries + self.entering(offsets), tokens, mask)
        return self.writing(self.norm(latents))  # type: ignore[no-any-return]
