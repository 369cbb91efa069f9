"""Check: uniform guesses. A score above chance means that the task is wrong."""

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
    """Gives every choice a random score."""

    about = "check: uniform guesses"
    role = "check"
    blind = True
    position = 91
    timed = False
    independent = False  # the guesses of all examples are drawn at once

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        if context.task.kind == "generation":
            raise NotApplicableError(
                f"uniform guesses among choices, but the answers to '{context.task.name}' are "
                "written."
            )

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        draw = np.random.default_rng(self.context.seed)
        return [
            Prediction.of(self.context.task, e, Response(tuple(draw.random(len(e.choices)))))
            for e in examples
        ]
