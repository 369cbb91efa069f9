"""Cross-entropy of the right answer."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from latentwire.losses import token_mean
from latentwire.objectives.base import OBJECTIVES, Batch, Objective


@OBJECTIVES.add("answer")
class AnswerObjective(Objective):
    """Cross-entropy of the right answer under the receiver, given the message."""

    kind = "answer"
    about = "cross-entropy of the right answer"
    source = "the receiver's own training objective"
    trains_answer = True

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        return token_mean(batch.answer_nll, batch.targets)
