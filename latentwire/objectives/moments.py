"""Soft tokens with the mean and the covariance of real embeddings."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from latentwire.losses import moments_loss
from latentwire.objectives.base import OBJECTIVES, Batch, Objective


@OBJECTIVES.add("moments")
class Moments(Objective):
    """First and second moments over all soft tokens of a batch, matched to real embeddings."""

    kind = "moments"
    about = "mean and covariance of real embeddings"
    source = "Sun & Saenko 2016, Deep CORAL, arXiv:1607.01719"
    in_embeddings = True

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        return moments_loss(batch.soft.flatten(0, 1).float(), batch.real_embeddings.float())
