"""Soft tokens that a discriminator cannot tell from real embeddings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from latentwire.losses import reverse_gradient
from latentwire.objectives.base import OBJECTIVES, Batch, Objective, Space


@OBJECTIVES.add("domain")
class Domain(Objective):
    """A discriminator learns to tell soft tokens from real embeddings; the bridge unlearns it.

    Args:
        features: Width of the discriminator.
        strength: Factor of the gradient that reaches the bridge, > 0.
    """

    kind = "domain"
    about = "adversary that tells soft tokens from real embeddings"
    source = "Ganin et al. 2016, arXiv:1505.07818"
    in_embeddings = True

    def __init__(self, space: Space, *, features: int = 128, strength: float = 1.0) -> None:
        super().__init__(space)
        self.strength = strength
        self.discriminator = nn.Sequential(
            nn.Linear(space.width, features), nn.LeakyReLU(0.2), nn.Linear(features, 1)
        )

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        soft = reverse_gradient(batch.soft.flatten(0, 1).float(), self.strength)
        made, real = self._judge(soft), self._judge(batch.real_embeddings.float())
        # Both sides weigh the same, however many tokens they have.
        return (
            F.binary_cross_entropy_with_logits(made, torch.zeros_like(made))
            + F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
        ) / 2

    def _judge(self, x: Float[Tensor, "n dr"]) -> Float[Tensor, " n"]:
        return self.discriminator(x / self.space.rms)[:, 0]  # type: ignore[no-any-return]
