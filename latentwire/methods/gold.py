"""Check: the right answers. A score below 1.0 means that the task or its scoring is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.data.metrics import Response
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
    # By text, not by index: this detects a label that points to the wrong choice.
    return Response(tuple(float(choice in example.references) for choice in example.choices))
