"""From examples to a loss: the pass that training and validation share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from latentwire.models.states import StateCache
from latentwire.objectives import Loss
from latentwire.train.batch import TaskBatch
from latentwire.train.config import TrainConfig
from latentwire.train.tasks import Part, TaskData
from latentwire.wire import Wire


class Forward:
    """Runs the bridge on stored sender states and the objectives on what comes out.

    Args:
        wire: Its bridge is trained.
        cache: Has the states of all examples.
        loss: The objectives.
        config: Says whether the bridge is compiled, and its precision.
    """

    def __init__(self, wire: Wire, cache: StateCache, loss: Loss, config: TrainConfig) -> None:
        self.wire, self.cache, self.loss = wire, cache, loss
        # Lengths differ from batch to batch: one compiled program must serve them all.
        self._bridge = torch.compile(wire.bridge, dynamic=True) if config.compile else wire.bridge
        lm = wire.receiver.lm
        half = lm.device.type == "cuda" and lm.dtype is torch.bfloat16
        self._half = half and config.precision == "auto"

    def __call__(
        self, data: TaskData, part: Part, index: Sequence[int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted loss of some examples, and every term before it is weighted.

        The bridge's own losses count while it trains; they come weighted, named `own.*`.
        """
        batch = self.batch(data, part, index)
        total, values = self.loss(batch)
        if self.wire.bridge.training:
            for name, value in self.wire.bridge.own_losses().items():
                total = total + value
                values[f"own.{name}"] = value.detach()
        return total, values

    def batch(self, data: TaskData, part: Part, index: Sequence[int]) -> TaskBatch:
        """Some examples as objectives see them."""
        device = self.wire.receiver.lm.device
        states = self.cache.states_of([part.keys[i] for i in index])
        with self._precision():
            soft = self._bridge(states.states.to(device), states.mask.to(device))
        soft = soft.float()
        examples = [part.examples[i] for i in index]
        return TaskBatch(data.reading, examples, soft, self.loss.channel(soft))

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast("cuda", torch.bfloat16) if self._half else nullcontext()
