"""Distillation from the receiver when it reads the text."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from latentwire.losses import distillation_loss
from latentwire.objectives.base import OBJECTIVES, Batch, Objective, Space


@OBJECTIVES.add("kd")
class DistillationObjective(Objective):
    """KL divergence from the receiver given the text to the receiver given the message.

    Compares next-token distributions at the answer positions over the whole vocabulary, so two sets
    of logits are in memory.

    Args:
        temperature: Softmax temperature of both distributions, > 0.
    """

    kind = "kd"
    about = "KL divergence to the receiver reading the text"
    source = "Hinton et al. 2015, arXiv:1503.02531"
    trains_answer = True

    def __init__(self, space: Space, *, temperature: float = 1.0) -> None:
        super().__init__(space)
        self.temperature = temperature

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        return distillation_loss(
            batch.logits, batch.teacher_logits, batch.targets, self.temperature
        )
