"""Ensemble: a weighted mean of the probabilities of both models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.data.metrics import Response
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Prediction
from latentwire.methods.both_models import BothModels, ZeroShotAnswer
from latentwire.methods.prompt_choice import best_on_val, mean_value

# Nearest to the even mean first: among equals on val, the most cautious weight is chosen.
_WEIGHTS = tuple(sorted((i / 10 for i in range(11)), key=lambda weight: abs(weight - 0.5)))


@METHODS.add("ensemble")
class Ensemble(BothModels):
    """A weighted mean of both models' zero-shot probabilities, with the best weight on val.

    Choices are ranked by the task's metric, so both accuracies of a prediction are the same.
    """

    about = "mean of both models' probabilities"
    position = 34

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.weight = _WEIGHTS[0]
        self.on_val: dict[float, float] = {}

    def prepare(self, progress: Progress) -> None:
        val = self.context.prompt_val()
        answers = self.answers(val, progress)
        self.on_val = {w: mean_value(self._mix(w, val, *answers)) for w in _WEIGHTS}
        self.weight = best_on_val(self.on_val)

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        return self._mix(self.weight, examples, *self.answers(examples, progress, fresh=fresh))

    def settings(self) -> dict[str, Any]:
        return {
            "sender_weight": self.weight,
            "val_score_by_weight": {str(w): self.on_val[w] for w in sorted(self.on_val)},
        }

    def _mix(
        self,
        weight: float,
        examples: Sequence[Example],
        sender: Sequence[ZeroShotAnswer],
        receiver: Sequence[ZeroShotAnswer],
    ) -> list[Prediction]:
        return [
            Prediction.of(
                self.context.task,
                example,
                Response(mix(a.log_probabilities, b.log_probabilities, weight)),
            )
            for example, a, b in zip(examples, sender, receiver, strict=True)
        ]


def mix(a: Sequence[float], b: Sequence[float], weight: float) -> tuple[float, ...]:
    """Return the log of `weight * exp(a) + (1 - weight) * exp(b)`.

    Args:
        a: Log-probabilities of the first model.
        b: Log-probabilities of the second model.
        weight: Weight of the first model, 0..1.
    """
    log_weights = [math.log(w) if w > 0 else -math.inf for w in (weight, 1 - weight)]
    return tuple(np.logaddexp(np.array(a) + log_weights[0], np.array(b) + log_weights[1]).tolist())
