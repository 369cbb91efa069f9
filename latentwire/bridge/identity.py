"""Copies of sender states, a control for pairs of identical models."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES, Bridge
from latentwire.bridge.pair_facts import PairFacts


@BRIDGES.add("identity")
class IdentityBridge(Bridge):
    """Copies the states of k tokens, evenly spaced and including the last one.

    Uses the last of several layers. If the widths differ, states are truncated or padded with
    zeros; the result is meaningful only if sender and receiver are the same model. Each copy is
    scaled to real embeddings. The only trained parameters are a scale per soft token (initially 1)
    and the anchors (initially 0).
    """

    kind = "identity"
    about = "copies the states of k tokens: control for two equal models"
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
        state = state * self.state_std[-1] + self.state_mean[-1]  # undo the standardization
        state = state[..., : self.receiver_width]
        state = F.pad(state, (0, self.receiver_width - state.shape[-1]))
        return state * torch.rsqrt(state.pow(2).mean(-1, keepdim=True) + 1e-12)

    def write(self, offsets: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        """Scale the copies to real embeddings, times the learned scale."""
        return self.scale[:, None] * super().write(offsets)

    @torch.no_grad()
    def initialize(self, facts: PairFacts) -> None:
        """Initialize the scales; the anchors stay zero, so that soft tokens are exact copies."""
        super().initialize(facts)
        self.anchors.zero_()


def spread_positions(mask: Bool[Tensor, "b t"], n: int) -> Tensor:
    """Evenly spaced positions (b, n) of real tokens up to the last; short texts repeat some."""
    ranks = torch.arange(1, n + 1, device=mask.device) * mask.sum(1, keepdim=True)
    ranks = -(-ranks // n) - 1  # rounded up: the last one is the last real token
    real_first = (~mask).long().argsort(dim=1, stable=True)
    return real_first.gather(1, ranks)
