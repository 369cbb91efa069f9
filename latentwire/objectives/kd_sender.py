"""Distillation from the sender."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from latentwire.losses import choice_distillation_loss
from latentwire.objectives.base import OBJECTIVES, Batch, Objective, Space


@OBJECTIVES.add("kd_sender")
class SenderDistillationObjective(Objective):
    """KL divergence from the sender given the text to the receiver given the message.

    The models have different vocabularies, so distributions over whole choices are compared: the
    softmax of summed log-likelihoods. Tasks with free-form answers are not supported.

    Args:
        temperature: Softmax temperature of both distributions, > 0.
    """

    kind = "kd_sender"
    about = "KL divergence to the sender's distribution over choices"
    source = "Hinton et al. 2015, arXiv:1503.02531, over choices"
    needs_choices = True
    needs_sender_scores = True
    trains_answer = True

    def __init__(self, space: Space, *, temperature: float = 1.0) -> None:
        super().__init__(space)
        self.temperature = temperature

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        return choice_distillation_loss(
            batch.choice_scores, batch.sender_choice_scores, self.temperature
        )
