"""Control: the messages of a bridge that has learned another task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from latentwire.core.errors import UsageError
from latentwire.data import Task
from latentwire.eval.context import METHODS, Context
from latentwire.methods.bridge import BridgeMethod
from latentwire.models import LanguageModel
from latentwire.wire.wire import Wire


@METHODS.add("other_task")
class OtherTask(BridgeMethod):
    """This task's texts through another task's bridge, read behind this wire's prompt.

    What the receiver scores here comes from text that any bridge lets through, not from what this
    bridge has learned to say.
    """

    name = "other_task"
    about = "control: a bridge of another task"
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
            "trained_on": _tasks_of(self.other),
            "bridge": spec.bridge,
            "soft_tokens": spec.soft_tokens,
            "fingerprint": self.other.fingerprint,
        }


def open_other(run: Path, task: Task, lms: tuple[LanguageModel, LanguageModel]) -> Wire:
    """The bridge of a run folder, if it is one of another task for the same pair.

    Args:
        run: Run folder.
        task: The task that it must not have learned.
        lms: Sender and receiver.
    Raises: UsageError: If it has learned the task. BridgeError, PairMismatchError: As in `Wire`.
    """
    other = Wire.from_pretrained(run, sender=lms[0], receiver=lms[1])
    if task.name in _tasks_of(other):
        raise UsageError(
            f"The bridge in {run} was trained on '{task.name}' itself: other_task needs one that "
            "was not."
        )
    return other


def _tasks_of(wire: Wire) -> list[str]:
    """Names of all tasks that a wire was trained on."""
    first = [wire.task.name] if wire.task else []
    return list(dict.fromkeys([*first, *wire.training.get("tasks", ()), *wire.prompts]))
