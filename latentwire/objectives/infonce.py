"""Contrastive learning of messages and texts."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from latentwire.losses import infonce_loss
from latentwire.objectives.base import OBJECTIVES, Batch, Objective, Space


@OBJECTIVES.add("infonce")
class InfoNCEObjective(Objective):
    """Contrastive loss that matches each message to its text among the texts of the batch.

    Messages and texts are averaged over tokens, projected, and compared by cosine similarity. The
    negatives are the other examples in the forward pass of the same process.

    Args:
        temperature: Divisor of the cosine similarities, > 0.
        features: Width of the projections.
    """

    kind = "infonce"
    about = "matches each message to its text in the batch"
    source = "van den Oord et al. 2018, arXiv:1807.03748"
    needs_embeddings = True
    needs_pairs = True

    def __init__(self, space: Space, *, temperature: float = 0.1, features: int = 128) -> None:
        super().__init__(space)
        self.temperature = temperature
        self.of_message = nn.Linear(space.width, features)
        self.of_text = nn.Linear(space.width, features)

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        return infonce_loss(self.scores(batch.soft.mean(1), batch.text_embeddings))

    def scores(
        self, messages: Float[Tensor, "b dr"], texts: Float[Tensor, "b dr"]
    ) -> Float[Tensor, "b b"]:
        """Cosine similarity of every message with every text, divided by the temperature."""
        a = F.normalize(self.of_message(messages.float() / self.space.rms), dim=-1)
        b = F.normalize(self.of_text(texts.float() / self.space.rms), dim=-1)
        return a @ b.T / self.temperature
