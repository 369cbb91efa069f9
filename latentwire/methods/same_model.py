"""Control: the receiver is its own sender, which shows what the other model contributes."""

from __future__ import annotations

from typing import Any

from latentwire.core.progress import Progress
from latentwire.eval.method import METHODS
from latentwire.methods.trained_wire import TrainedWireMethod
from latentwire.wire.wire import Wire


@METHODS.add("same_model")
class SameModel(TrainedWireMethod):
    """A bridge of the same kind and budget from the receiver to itself."""

    about = "control: the receiver is its own sender"
    role = "control"
    position = 61
    timed = False

    def build(self, progress: Progress) -> Wire:
        context, lm = self.context, self.context.receiver.lm
        spec: dict[str, Any] = {"soft_tokens": context.soft_tokens}
        if context.wire is not None:
            theirs = context.wire.spec
            spec |= {"bridge": theirs.bridge, **theirs.options}
        return Wire.build(
            lm,
            lm,
            sender_prompt=context.sender_prompt,
            setting=context.setting,
            max_tokens=context.max_tokens,
            seed=context.seed,
            **spec,
        )
