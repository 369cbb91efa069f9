"""The right answer, given the message."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from latentwire.losses import token_mean
from latentwire.objectives.base import OBJECTIVES, Batch, Objective


@OBJECTIVES.add("answer")
class Answer(Objective):
    """Cross-entropy of the right answer at its positions behind the message."""

    kind = "answer"
    about = "cross-entropy of the right answer"
    source = "the receiver's own training objective"
    asks_for_the_answer = True

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        return token_mean(batch.answer_nll, batch.targets)
