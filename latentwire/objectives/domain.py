"""Domain-adversarial training: soft tokens that look like real embeddings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from latentwire.losses import reverse_gradient
from latentwire.objectives.base import OBJECTIVES, Batch, Objective, Space


@OBJECTIVES.add("domain")
class DomainObjective(Objective):
    """Loss of a discriminator between soft tokens and real embeddings.

    The bridge receives the reversed gradient.

    Args:
        features: Hidden width of the discriminator.
        strength: Factor of the reversed gradient that reaches the bridge, > 0.
    """

    kind = "domain"
    about = "adversarial discriminator of soft tokens and real embeddings"
    source = "Ganin et al. 2016, arXiv:1505.07818"
    needs_embeddings = True

    def __init__(self, space: Space, *, features: int = 128, strength: float = 1.0) -> None:
        super().__init__(space)
        self.strength = strength
        self.discriminator = nn.Sequential(
            nn.Linear(space.width, features), nn.LeakyReLU(0.2), nn.Linear(features, 1)
        )

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        soft = reverse_gradient(batch.soft.flatten(0, 1).float(), self.strength)
        soft_logits = self._discriminate(soft)
        real_logits = self._discriminate(batch.real_embeddings.float())
        # Both sides have the same weight, regardless of their number of tokens.
        return (
            F.binary_cross_entropy_with_logits(soft_logits, torch.zeros_like(soft_logits))
            + F.binary_cross_entropy_with_logits(real_logits, torch.ones_like(real_logits))
        ) / 2

    def _discriminate(self, x: Float[Tensor, "n dr"]) -> Float[Tensor, " n"]:
        return self.discriminator(x / self.space.rms)[:, 0]  # type: ignore[no-any-return]
