"""Both models answer, and their probabilities are averaged."""

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
from latentwire.methods.both_models import BothModels, Opinion
from latentwire.methods.prompt_choice import best_prompt, mean_value

# Nearest to the even mean first: among equals on val it is the one that claims least.
_WEIGHTS = tuple(sorted((i / 10 for i in range(11)), key=lambda weight: abs(weight - 0.5)))


@METHODS.add("ensemble")
class Ensemble(BothModels):
    """A weighted mean of both models' zero-shot probabilities; the weight is the best on val.

    Its choice follows the task's metric, so that both accuracies of a prediction are alike.
    """

    about = "both models' probabilities, averaged"
    position = 34

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.weight = _WEIGHTS[0]
        self.on_val: dict[float, float] = {}

    def prepare(self, progress: Progress) -> None:
        val = self.context.prompt_val()
        opinions = self.opinions(val, progress)
        self.on_val = {w: mean_value(self._mix(w, val, *opinions)) for w in _WEIGHTS}
        self.weight = best_prompt(self.on_val)

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        return self._mix(self.weight, examples, *self.opinions(examples, progress, fresh=fresh))

    def settings(self) -> dict[str, Any]:
        return {
            "sender_weight": self.weight,
            "val_score_by_weight": {str(w): self.on_val[w] for w in sorted(self.on_val)},
        }

    def _mix(
        self,
        weight: float,
        examples: Sequence[Example],
        sender: Sequence[Opinion],
        receiver: Sequence[Opinion],
    ) -> list[Prediction]:
        return [
            Prediction.of(self.context.task, e, Response(mixed(a.log_shares, b.log_shares, weight)))
            for e, a, b in zip(examples, sender, receiver)
        ]


def mixed(a: Sequence[float], b: Sequence[float], weight: float) -> tuple[float, ...]:
    """Log of `weight` times the shares in `a` plus the rest times those in `b`; all are logs."""
    log_weights = [math.log(w) if w > 0 else -math.inf for w in (weight, 1 - weight)]
    return tuple(np.logaddexp(np.array(a) + log_weights[0], np.array(b) + log_weights[1]).tolist())
