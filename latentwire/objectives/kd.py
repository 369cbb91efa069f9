"""Answer as the receiver answers when it reads the text itself."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from latentwire.losses import distillation_loss
from latentwire.objectives.base import OBJECTIVES, Batch, Objective, Space


@OBJECTIVES.add("kd")
class Distillation(Objective):
    """KL divergence to the receiver that reads the text, at the answer positions.

    The full vocabulary is compared: logits of all answer positions are held twice.

    Args:
        temperature: Softens both distributions, > 0.
    """

    kind = "kd"
    about = "KL divergence to the receiver that reads the text"
    source = "Hinton et al. 2015, arXiv:1503.02531"
    asks_for_the_answer = True

    def __init__(self, space: Space, *, temperature: float = 1.0) -> None:
        super().__init__(space)
        self.temperature = temperature

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        return distillation_loss(
            batch.logits, batch.teacher_logits, batch.targets, self.temperature
        )
