"""Check: the right answers themselves. Anything but 1.0 means that task or scoring is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.data.metrics import Response
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Method, Prediction


@METHODS.add("gold")
class Gold(Method):
    """Answers with the reference text: the choice of that text, or the text itself."""

    about = "check: the right answers"
    role = "check"
    position = 90
    timed = False

    def __init__(self, context: Context) -> None:
        self.context = context

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        return [Prediction.of(self.context.task, e, _right(e)) for e in examples]


def _right(example: Example) -> Response:
    if example.target is None:
        return Response(text=example.references[0])
    # By the text, not by the index: a label that points to the wrong choice shows.
    return Response(tuple(float(choice in example.references) for choice in example.choices))
