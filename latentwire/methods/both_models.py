"""Both models read the text and answer; what each gives to every choice."""

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
from latentwire.methods.label_calibration import log_shares
from latentwire.methods.zeroshot import ZeroShot


@dataclass(frozen=True)
class Opinion:
    """One model's answer to one example.

    Args:
        prediction: Its zero-shot answer.
        log_shares: Log-probability of each choice among the choices, by the task's metric.
    """

    prediction: Prediction
    log_shares: tuple[float, ...]

    @property
    def confidence(self) -> float:
        """Probability of its best choice among the choices, 0..1."""
        return math.exp(max(self.log_shares))


class BothModels(Method):
    """Base of methods that make one answer of the sender's and the receiver's zero-shot answers."""

    version = 3  # as zero-shot's

    def __init__(self, context: Context) -> None:
        if context.task.kind == "generation":
            raise NotApplicableError(
                f"{self.name} weighs choices by their probabilities; the answers to "
                f"'{context.task.name}' are written."
            )
        self.context = context

    def opinions(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> tuple[list[Opinion], list[Opinion]]:
        """The sender's opinion on each example, and the receiver's."""
        return (
            self._opinions("zeroshot_sender", examples, progress, fresh),
            self._opinions("zeroshot_receiver", examples, progress, fresh),
        )

    def _opinions(
        self, name: str, examples: Sequence[Example], progress: Progress, fresh: bool
    ) -> list[Opinion]:
        answers = self.context.predictions(name, examples, progress, fresh=fresh)
        per_byte = self.context.task.metric == "acc_norm"
        model = cast(ZeroShot, self.context.prepared(name, progress)) if per_byte else None
        return [
            Opinion(answer, log_shares(answer.scores, model.sizes(example) if model else ()))
            for example, answer in zip(examples, answers)
        ]
