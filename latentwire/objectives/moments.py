"""Moment matching between soft tokens and real embeddings."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from latentwire.losses import moments_loss
from latentwire.objectives.base import OBJECTIVES, Batch, Objective


@OBJECTIVES.add("moments")
class MomentsObjective(Objective):
    """Distance of the soft tokens' mean and covariance from those of real embeddings."""

    kind = "moments"
    about = "matches mean and covariance of real embeddings"
    source = "Sun & Saenko 2016, Deep CORAL, arXiv:1607.01719"
    needs_embeddings = True

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        return moments_loss(batch.soft.flatten(0, 1).float(), batch.real_embeddings.float())
