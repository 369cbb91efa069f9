"""The text itself, written by the receiver from the message."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from latentwire.objectives.base import OBJECTIVES, Batch, Objective, Space


@OBJECTIVES.add("reconstruction")
class Reconstruction(Objective):
    """Negative log-likelihood of the text's first tokens under the receiver.

    Args:
        tokens: How many tokens of each text are written back.
    """

    kind = "reconstruction"
    about = "the receiver writes the text back, nats per token"
    source = "Ge et al. 2024, In-context Autoencoder, arXiv:2307.06945"

    def __init__(self, space: Space, *, tokens: int = 48) -> None:
        super().__init__(space)
        self.tokens = tokens

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        return batch.text_nll(self.tokens).mean()
