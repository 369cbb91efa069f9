"""Control: messages of a bridge that was trained on another task."""

from __future__ import annotations

from typing import Any

from latentwire.core.errors import UsageError
from latentwire.eval.baselines import trained_tasks
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS
from latentwire.methods.bridge import MessageMethod
from latentwire.wire.wire import Wire


@METHODS.add("other_task")
class OtherTask(MessageMethod):
    """Sends this task's texts through the bridge of another task, read with this wire's prompt.

    Its score shows how much any bridge lets through, whatever it was trained for.
    """

    about = "control: bridge of another task"
    role = "control"
    position = 14
    timed = False

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        if context.other is None:
            raise UsageError("Method 'other_task' needs a bridge of another task for this pair.")
        self.other = context.other()

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
