"""Control: everybody gets the average message."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.core.progress import Progress
from latentwire.eval.context import METHODS, Context
from latentwire.methods.bridge import BridgeMethod

_MOST = 256


@METHODS.add("mean")
class Mean(BridgeMethod):
    """The mean of training messages: all that messages have in common, nothing of an example.

    Each of its soft tokens is brought to the mean norm of the real ones at its place.
    """

    name = "mean"
    about = "control: the average message"
    timed = False

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.n_averaged = 0
        self.average = torch.zeros(0)

    def prepare(self, progress: Progress) -> None:
        training = self.context.training
        n = min(_MOST, training.train_limit or _MOST)
        train = self.context.task.sample("train", n, training.seed)
        self.n_averaged = len(train)
        self.average = average_message(self.unpack(self.write(train, progress)))

    def tamper(self, soft: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        return self.average.expand_as(soft)

    def settings(self) -> dict[str, Any]:
        return {"averaged_messages": self.n_averaged}


def average_message(soft: Float[Tensor, "b k dr"]) -> Float[Tensor, "k dr"]:
    """The mean of messages, each soft token at the mean norm of those at its place."""
    mean = soft.mean(0)
    wanted = soft.norm(dim=-1).mean(0)
    scale: Tensor = wanted / mean.norm(dim=-1).clamp(min=1e-12)
    return mean * scale[:, None]
