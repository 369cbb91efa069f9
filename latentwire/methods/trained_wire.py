"""Methods that build and train a wire of their own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Method
from latentwire.methods.bridge import MessageMethod
from latentwire.methods.lora import folder_or_temporary
from latentwire.models.state_cache import StateCache
from latentwire.train import train_bridge
from latentwire.wire.wire import Wire


class TrainedWireMethod(MessageMethod):
    """Base class of methods that train a wire with the budget of the bridge.

    Args:
        context: Context of the method.
    """

    needs_wire = False
    seeded = True
    trained = True

    def __init__(self, context: Context) -> None:
        Method.__init__(self, context)
        self.best: dict[str, float] = {}

    @abstractmethod
    def build(self, progress: Progress) -> Wire:
        """Return the wire before training."""

    def changes(self) -> dict[str, Any]:
        """Return training options to change from those of the bridge."""
        return {}

    def prepare(self, progress: Progress) -> None:
        self.wire = self.build(progress)
        config = self.context.training.model_copy(update=self.changes())
        with folder_or_temporary(self.work) as folder:
            done = train_bridge(
                self.wire, self.context.task, folder, config=config, resume=True, progress=progress
            )
        self.best = done.best

    def settings(self) -> dict[str, Any]:
        prompt = self.wire.prompt_builder(self.context.task).template
        return {"prompt": prompt, "n_parameters": self.wire.bridge.n_parameters, "val": self.best}

    def texts(self, examples: Sequence[Example]) -> list[str]:
        return self.wire.sender_texts(self.context.task, examples)[0]

    @cached_property
    def _cache(self) -> StateCache:
        return StateCache(self.wire.sender, self.wire.spec.layers)


@METHODS.add("same_model")
class SameModel(TrainedWireMethod):
    """Trains a bridge of the same kind and budget from the receiver to itself.

    The difference to the bridge shows what the sender contributes.
    """

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
