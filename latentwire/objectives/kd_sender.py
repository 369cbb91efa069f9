"""Answer as the sender answers when it reads the item itself."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from latentwire.losses import choice_distillation_loss
from latentwire.objectives.base import OBJECTIVES, Batch, Objective, Space


@OBJECTIVES.add("kd_sender")
class SenderDistillation(Objective):
    """KL divergence to the sender that reads the item, over the item's choices.

    The two models share no vocabulary, so whole choices are compared: the softmax of their summed
    log-likelihoods. A task whose answers are written has no choices and is refused.

    Args:
        temperature: Softens both distributions, > 0.
    """

    kind = "kd_sender"
    about = "KL divergence to the sender's choice"
    source = "Hinton et al. 2015, arXiv:1503.02531, over choices"
    needs_choices = True
    asks_sender = True
    asks_for_the_answer = True

    def __init__(self, space: Space, *, temperature: float = 1.0) -> None:
        super().__init__(space)
        self.temperature = temperature

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        return choice_distillation_loss(
            batch.choice_scores, batch.sender_choice_scores, self.temperature
        )
