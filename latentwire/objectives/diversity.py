"""Diversity of the soft tokens of a message."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from latentwire.losses import diversity_loss
from latentwire.objectives.base import OBJECTIVES, Batch, Objective


@OBJECTIVES.add("diversity")
class DiversityObjective(Objective):
    """Mean squared cosine similarity between the soft tokens of a message."""

    kind = "diversity"
    about = "makes the soft tokens of a message differ"
    source = "Lin et al. 2017, arXiv:1703.03130"

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        return diversity_loss(batch.soft)
