"""Sender states as they are: the control for a pair of equal models."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES, Bridge, PairFacts


@BRIDGES.add("identity")
class IdentityBridge(Bridge):
    """Copies the states of k tokens, spread evenly over the text, its last one included.

    Of several layers the last is read. Widths that differ are cut or filled up with zeros: the
    result means something only where sender and receiver are one model. Each copy is brought to
    the scale of real embeddings; a scale per soft token (from 1) and the anchors (from 0) are all
    that can be trained, and there are no random weights.
    """

    kind = "identity"
    about = "states of k tokens, copied: control for two equal models"
    source = "control; cf. Ramesh & Li 2025, Communicating Activations, arXiv:2501.14082"

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        nn.init.zeros_(self.anchors)
        self.scale = nn.Parameter(torch.ones(self.soft_tokens))

    def mix(
        self, x: Float[Tensor, "b l t ds"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k dr"]:
        picked = spread_positions(mask, self.soft_tokens)[..., None]
        state = x[:, -1].gather(1, picked.expand(-1, -1, self.sender_width))
        state = state * self.state_std[-1] + self.state_mean[-1]  # as the sender had it
        state = state[..., : self.receiver_width]
        state = F.pad(state, (0, self.receiver_width - state.shape[-1]))
        return state * torch.rsqrt(state.pow(2).mean(-1, keepdim=True) + 1e-12)

    def write(self, offsets: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        """The copies at the scale of real embeddings, times the learned scale."""
        return self.scale[:, None] * super().write(offsets)

    @torch.no_grad()
    def initialize(self, facts: PairFacts) -> None:
        """Take over the pair's scales; the anchors stay at zero, so that copies are copies."""
        super().initialize(facts)
        self.anchors.zero_()


def spread_positions(mask: Bool[Tensor, "b t"], n: int) -> Tensor:
    """Positions (b, n) of real tokens, spread evenly up to the last; short rows repeat some."""
    ranks = torch.arange(1, n + 1, device=mask.device) * mask.sum(1, keepdim=True)
    ranks = -(-ranks // n) - 1  # ceil: the last is the row's last real token
    real_first = (~mask).long().argsort(dim=1, stable=True)
    return real_first.gather(1, ranks)
