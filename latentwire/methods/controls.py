"""Controls that replace the messages of the bridge."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress
from latentwire.eval.baselines import trained_tasks
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS
from latentwire.methods.bridge import MessageMethod
from latentwire.wire.wire import Wire

_MAX_AVERAGED = 256


class Control(MessageMethod):
    """Base class of controls whose message does not depend on the text of the example."""

    role = "control"
    blind = True
    in_eval = True
    timed = False


@METHODS.add("zero")
class Zero(Control):
    """Sends zeros, so that the receiver gets no information."""

    about = "control: message of zeros"
    position = 10

    def tamper(self, soft: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        return torch.zeros_like(soft)


@METHODS.add("random")
class Random(Control):
    """Sends Gaussian noise, each soft token scaled to the norm of the real one."""

    about = "control: noise of the same norm"
    position = 11
    independent = False  # the noise of all examples is drawn at once

    def tamper(self, soft: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        generator = torch.Generator().manual_seed(self.context.seed)
        noise = torch.randn(soft.shape, generator=generator).to(soft)
        scale: Tensor = soft.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)
        return noise * scale


@METHODS.add("shuffled")
class Shuffled(Control):
    """Sends the real message of a different example."""

    about = "control: message of another example"
    position = 12
    independent = False  # the message depends on the other examples of the call

    def tamper(self, soft: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        generator = torch.Generator().manual_seed(self.context.seed)
        order = torch.randperm(len(soft), generator=generator)
        # Each example takes the message of its neighbor in a random cycle, never its own.
        given = torch.empty_like(soft)
        given[order] = soft[order.roll(1)]
        return given


@METHODS.add("mean")
class Mean(Control):
    """Sends the mean of training messages, scaled to their mean norm at each position."""

    about = "control: mean of the training messages"
    position = 13
    in_eval = False

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.n_averaged = 0
        self.average = torch.zeros(0)

    def prepare(self, progress: Progress) -> None:
        training = self.context.training
        n = min(_MAX_AVERAGED, training.train_limit or _MAX_AVERAGED)
        train = self.context.task.sample("train", n, training.seed)
        self.n_averaged = len(train)
        self.average = mean_message(self.unpack(self.write(train, progress)))

    def tamper(self, soft: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        return self.average.expand_as(soft)

    def settings(self) -> dict[str, Any]:
        return {"averaged_messages": self.n_averaged}


def mean_message(soft: Float[Tensor, "b k dr"]) -> Float[Tensor, "k dr"]:
    """Return the mean of messages, each soft token scaled to the mean norm at its position."""
    mean = soft.mean(0)
    wanted = soft.norm(dim=-1).mean(0)
    scale: Tensor = wanted / mean.norm(dim=-1).clamp(min=1e-12)
    return mean * scale[:, None]


@METHODS.add("other_task")
class OtherTask(MessageMethod):
    """Sends messages of a bridge trained on another task, read with this wire's prompt.

    Its score shows how much a bridge communicates regardless of the task it was trained on.
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
