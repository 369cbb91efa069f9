"""Control: the messages of a bridge that has learned another task."""

from __future__ import annotations

from typing import Any

from latentwire.core.errors import UsageError
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS
from latentwire.eval.suite import trained_tasks
from latentwire.methods.bridge import MessageMethod
from latentwire.wire.wire import Wire


@METHODS.add("other_task")
class OtherTask(MessageMethod):
    """This task's texts through another task's bridge, read behind this wire's prompt.

    What the receiver scores here comes from text that any bridge lets through, not from what this
    bridge has learned to say.
    """

    about = "control: a bridge of another task"
    role = "control"
    position = 14
    timed = False

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        if context.other is None:
            raise UsageError("other_task needs a bridge of another task for the same pair.")
        self.other = context.other

    @property
    def writer(self) -> Wire:
        return self.other

    def settings(self) -> dict[str, Any]:
        spec = self.other.spec
        return {
            "trained_on": trained_tasks(self.other),
            "bridge": spec.bridge,
            "soft_tokens": spec.soft_tokens,
            "fingerprint": self.other.fingerprint,
        }
