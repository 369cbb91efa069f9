"""Control: the messages of a bridge that has learned another task."""

from __future__ import annotations

from typing import Any

from latentwire.baselines.context import METHODS, Context
from latentwire.baselines.methods.bridge import BridgeMethod
from latentwire.errors import UsageError
from latentwire.wire import Wire


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
        if context.other_run is None:
            raise UsageError(
                "other_task needs a bridge of another task for the same pair: give its run folder."
            )
        self.other = Wire.from_pretrained(
            context.other_run, sender=context.sender.lm, receiver=context.receiver.lm
        )
        self.trained_on = _tasks_of(self.other)
        if context.task.name in self.trained_on:
            raise UsageError(
                f"The bridge in {context.other_run} was trained on '{context.task.name}' itself: "
                "other_task needs one that was not."
            )

    @property
    def writer(self) -> Wire:
        return self.other

    def settings(self) -> dict[str, Any]:
        spec = self.other.spec
        return {
            "trained_on": self.trained_on,
            "bridge": spec.bridge,
            "soft_tokens": spec.soft_tokens,
            "fingerprint": self.other.fingerprint,
        }


def _tasks_of(wire: Wire) -> list[str]:
    """Names of all tasks that a wire was trained on."""
    first = [wire.task.name] if wire.task else []
    return list(dict.fromkeys([*first, *wire.training.get("tasks", ()), *wire.prompts]))
