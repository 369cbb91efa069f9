"""Base of methods that combine the zero-shot answers of sender and receiver."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from latentwire.core.errors import NotApplicableError
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.context import Context
from latentwire.eval.method import Method, Prediction
from latentwire.methods.label_calibration import log_probabilities
from latentwire.methods.zeroshot import ZeroShot


@dataclass(frozen=True)
class ZeroShotAnswer:
    """One model's answer to one example.

    Args:
        prediction: Zero-shot prediction.
        log_probabilities: Log-probability of each choice among the choices, under the task's
            metric.
    """

    prediction: Prediction
    log_probabilities: tuple[float, ...]

    @property
    def confidence(self) -> float:
        """Probability of the best choice among the choices, 0..1."""
        return math.exp(max(self.log_probabilities))


class BothModels(Method):
    """Base class of methods that combine the zero-shot answers of both models.

    Args:
        context: Context of the method.
    Raises: NotApplicableError: If the answers of the task are written, not chosen.
    """

    version = 3  # that of the zero-shot methods

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        if context.task.kind == "generation":
            raise NotApplicableError(
                f"{self.name} weighs the probabilities of choices, but the answers to "
                f"'{context.task.name}' are written."
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
