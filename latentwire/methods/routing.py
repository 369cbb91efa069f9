"""Both models answer, and the more confident one is believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Prediction
from latentwire.methods.both_models import BothModels, Opinion
from latentwire.methods.prompt_choice import mean_value


@METHODS.add("routing")
class Routing(BothModels):
    """Each example gets the zero-shot answer of the model whose best choice is more probable.

    Of equals it is the receiver's.
    """

    about = "the more confident model's answer"
    position = 35

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.on_val: dict[str, float] = {}

    def prepare(self, progress: Progress) -> None:
        sender, receiver = self.opinions(self.context.prompt_val(), progress)
        said = [_surer(a, b) for a, b in zip(sender, receiver)]
        self.on_val = {
            "val_score": mean_value([opinion.prediction for opinion in said]),
            "val_share_of_sender": sum(o is a for o, a in zip(said, sender)) / len(said),
        }

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        pairs = zip(*self.opinions(examples, progress, fresh=fresh))
        return [_surer(sender, receiver).prediction for sender, receiver in pairs]

    def settings(self) -> dict[str, Any]:
        return dict(self.on_val)


def _surer(sender: Opinion, receiver: Opinion) -> Opinion:
    return sender if sender.confidence > receiver.confidence else receiver
