"""Methods that combine the zero-shot answers of sender and receiver."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from latentwire.core.errors import NotApplicableError
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.data.metrics import Response
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Method, Prediction
from latentwire.methods.label_calibration import log_probabilities
from latentwire.methods.prompt_choice import best_on_val, mean_value
from latentwire.methods.zeroshot import ZeroShot


@dataclass(frozen=True)
class ZeroShotAnswer:
    """One model's answer to one example.

    Args:
        prediction: Zero-shot prediction.
        log_probabilities: Log-probability of each choice, normalized over the choices.
    """

    prediction: Prediction
    log_probabilities: tuple[float, ...]

    @property
    def confidence(self) -> float:
        """Probability of the best choice, 0..1."""
        return math.exp(max(self.log_probabilities))


class BothModels(Method):
    """Base class of methods that combine the zero-shot answers of both models.

    Args:
        context: Context of the method.
    Raises: NotApplicableError: If the task has no choices.
    """

    version = 3  # version of the zero-shot methods

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        if context.task.kind == "generation":
            raise NotApplicableError(
                f"{self.name} needs a task with choices; the answers to '{context.task.name}' are "
                "written."
            )

    def answers(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> tuple[list[ZeroShotAnswer], list[ZeroShotAnswer]]:
        """Return the answers of the sender and those of the receiver."""
        return (
            self._answers("zeroshot_sender", examples, progress, fresh),
            self._answers("zeroshot_receiver", examples, progress, fresh),
        )

    def _answers(
        self, name: str, examples: Sequence[Example], progress: Progress, fresh: bool
    ) -> list[ZeroShotAnswer]:
        methods = self.context.methods
        predictions = methods.predictions(name, examples, progress, fresh=fresh)
        per_byte = self.context.task.metric == "acc_norm"
        model = cast(ZeroShot, methods.prepared(name, progress)) if per_byte else None
        sizes = [model.sizes(example) if model else () for example in examples]
        return [
            ZeroShotAnswer(each, log_probabilities(each.scores, n_bytes))
            for each, n_bytes in zip(predictions, sizes, strict=True)
        ]


# Sorted by distance to 0.5, so that ties on val go to the most even weight.
_WEIGHTS = tuple(sorted((i / 10 for i in range(11)), key=lambda weight: abs(weight - 0.5)))


@METHODS.add("ensemble")
class Ensemble(BothModels):
    """Averages both models' zero-shot probabilities with the best weight on val.

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


@METHODS.add("routing")
class Routing(BothModels):
    """Uses the zero-shot answer of the more confident model, on ties that of the receiver."""

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
