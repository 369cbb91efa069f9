"""Check: a blind guess. Its score is chance; a task that rewards it more is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latentwire.core.errors import NotApplicableError
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.data.metrics import Response
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Method, Prediction


@METHODS.add("uniform")
class Uniform(Method):
    """Every choice is as likely as any other."""

    about = "check: a blind guess"
    role = "check"
    blind = True
    position = 91
    timed = False

    def __init__(self, context: Context) -> None:
        if context.task.kind == "generation":
            raise NotApplicableError(
                f"uniform guesses among choices; the answers to '{context.task.name}' are written."
            )
        self.context = context

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        draw = np.random.default_rng(self.context.seed)
        return [
            Prediction.of(self.context.task, e, Response(tuple(draw.random(len(e.choices)))))
            for e in examples
        ]
