"""Matching norms of soft tokens and real embeddings."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from latentwire.losses import norm_loss
from latentwire.objectives.base import OBJECTIVES, Batch, Objective


@OBJECTIVES.add("norm")
class NormObjective(Objective):
    """Distance of the soft tokens' norms, per token and per feature, from real embeddings."""

    kind = "norm"
    about = "matches the norms of real embeddings"
    source = "Lester et al. 2021, arXiv:2104.08691 (prompts start on the embedding scale)"
    needs_embeddings = True

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        return norm_loss(batch.soft.flatten(0, 1).float(), batch.real_embeddings.float())
