"""Routing: the answer of the more confident model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Prediction
from latentwire.methods.both_models import BothModels, ZeroShotAnswer
from latentwire.methods.prompt_choice import mean_value


@METHODS.add("routing")
class Routing(BothModels):
    """The zero-shot answer of the model whose best choice is more probable; ties: the receiver."""

    about = "answer of the more confident model"
    position = 35

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.on_val: dict[str, float] = {}

    def prepare(self, progress: Progress) -> None:
        sender, receiver = self.answers(self.context.prompt_val(), progress)
        chosen = [_more_confident(a, b) for a, b in zip(sender, receiver, strict=True)]
        from_sender = [answer is a for answer, a in zip(chosen, sender, strict=True)]
        self.on_val = {
            "val_score": mean_value([answer.prediction for answer in chosen]),
            "val_share_of_sender": sum(from_sender) / len(chosen),
        }

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        pairs = zip(*self.answers(examples, progress, fresh=fresh), strict=True)
        return [_more_confident(sender, receiver).prediction for sender, receiver in pairs]

    def settings(self) -> dict[str, Any]:
        return dict(self.on_val)


def _more_confident(sender: ZeroShotAnswer, receiver: ZeroShotAnswer) -> ZeroShotAnswer:
    return sender if sender.confidence > receiver.confidence else receiver
