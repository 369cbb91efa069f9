"""Flow matching from the anchors to soft tokens, conditioned on the text."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES
from latentwire.bridge.blocks import ReadingBlock, TimeEmbedding
from latentwire.bridge.latent_bridge import LatentBridge
from latentwire.core.errors import ConfigError


@BRIDGES.add("flow_matching")
class FlowMatchingBridge(LatentBridge):
    """A conditional velocity field, integrated in a few Euler steps from the anchors.

    There are no target soft tokens: the receiver's loss is backpropagated through all steps and
    determines where paths end. The auxiliary loss `flow` is the flow-matching objective with these
    ends as targets. It straightens the paths, so that few steps suffice.

    Args:
        depth: Number of blocks of the velocity field.
        n_steps: Number of Euler steps, at least 1.
        flow_weight: Weight of the auxiliary loss `flow`.
        width, heads, gain, dropout: See LatentBridge.
    """

    kind = "flow_matching"
    about = "velocity field, a few Euler steps from the anchors"
    source = "Lipman et al. 2022, Flow Matching, arXiv:2210.02747, section 4.1 (straight paths)"

    def __init__(
        self,
        *,
        width: int = 320,
        depth: int = 1,
        n_steps: int = 4,
        heads: int = 8,
        flow_weight: float = 0.1,
        gain: float = 0.3,
        dropout: float = 0.2,
        **sizes: Any,
    ) -> None:
        super().__init__(width=width, heads=heads, gain=gain, dropout=dropout, **sizes)
        if n_steps < 1:
            raise ConfigError(f"flow_matching: n_steps is {n_steps}; it must be >= 1.")
        self.n_steps, self.flow_weight = n_steps, flow_weight
        self.entering = nn.Linear(self.receiver_width, width, bias=False)
        self.time = TimeEmbedding(width)
        self.blocks = nn.ModuleList(ReadingBlock(width, heads) for _ in range(depth))

    def mix(
        self, x: Float[Tensor, "b l t ds"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k dr"]:
        tokens, mean = self.encode(x, mask)
        offsets = self.anchors.new_zeros(len(x), *self.anchors.shape)
        for step in range(self.n_steps):
            time = offsets.new_full((len(x),), step / self.n_steps)
            offsets = offsets + self._velocity(offsets, time, tokens, mean, mask) / self.n_steps
        if self.training:
            loss = self._flow_loss(offsets.detach(), tokens, mean, mask)
            self.note_loss("flow", self.flow_weight * loss)
        return offsets

    def _velocity(
        self, offsets: Tensor, time: Tensor, tokens: Tensor, mean: Tensor, mask: Tensor
    ) -> Tensor:
        """Velocity (b, k, dr) at these offsets from the anchors."""
        place = self.entering(self.anchors + offsets) + self.time(time)[:, None]
        latents = self.queries + place
        for block in self.blocks:
            latents = block(latents, tokens, mask)
        return self.offsets(latents, mean)

    def _flow_loss(self, ends: Tensor, tokens: Tensor, mean: Tensor, mask: Tensor) -> Tensor:
        """Mean squared error of the velocity at a random time on the straight path to `ends`.

        Source: Lipman et al. 2022, arXiv:2210.02747, equation 23 with sigma_min = 0.
        """
        time = torch.rand(len(ends), device=ends.device)
        here = time[:, None, None] * ends
        return (self._velocity(here, time, tokens, mean, mask) - ends).pow(2).mean()
