"""Checks of task and scoring.

A score of `gold` below 1.0, or of `uniform` above chance, means that the task or its scoring is
wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latentwire.core.errors import NotApplicableError
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.data.metrics import Response
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Method, Prediction


@METHODS.add("gold")
class Gold(Method):
    """Answers with the reference text: the choice with that text, or the text itself."""

    about = "check: the right answers"
    role = "check"
    position = 90
    timed = False

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        return [Prediction.of(self.context.task, e, _right_answer(e)) for e in examples]


def _right_answer(example: Example) -> Response:
    if example.target is None:
        return Response(text=example.references[0])
    # Compare texts, not indices, to detect labels that point to the wrong choice.
    return Response(tuple(float(choice in example.references) for choice in example.choices))


@METHODS.add("uniform")
class Uniform(Method):
    """Gives every choice a random score."""

    about = "check: uniform guesses"
    role = "check"
    blind = True
    position = 91
    timed = False
    independent = False

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        if context.task.kind == "generation":
            raise NotApplicableError(
                f"uniform needs choices; the answers to '{context.task.name}' are written."
            )

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        draw = np.random.default_rng(self.context.seed)
        return [
            Prediction.of(self.context.task, e, Response(tuple(draw.random(len(e.choices)))))
            for e in examples
        ]
