"""Soft tokens of the size of real embeddings."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from latentwire.losses import norm_loss
from latentwire.objectives.base import OBJECTIVES, Batch, Objective


@OBJECTIVES.add("norm")
class Norm(Objective):
    """Root mean squares, of tokens and of features, as real embeddings have them."""

    kind = "norm"
    about = "root mean squares of real embeddings"
    source = "Lester et al. 2021, arXiv:2104.08691 (prompts start on the embedding scale)"
    in_embeddings = True

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        return norm_loss(batch.soft.flatten(0, 1).float(), batch.real_embeddings.float())
