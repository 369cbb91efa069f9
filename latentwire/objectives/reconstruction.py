"""Reconstruction of the text from the message."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from latentwire.objectives.base import OBJECTIVES, Batch, Objective, Space


@OBJECTIVES.add("reconstruction")
class ReconstructionObjective(Objective):
    """Negative log-likelihood of the text's first tokens under the receiver.

    Args:
        tokens: Number of tokens to reconstruct from each text.
    """

    kind = "reconstruction"
    about = "trains the receiver to reproduce the text"
    source = "Ge et al. 2024, In-context Autoencoder, arXiv:2307.06945"

    def __init__(self, space: Space, *, tokens: int = 48) -> None:
        super().__init__(space)
        self.tokens = tokens

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        return batch.text_nll(self.tokens).mean()
