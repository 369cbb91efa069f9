"""What is trained: from examples to a loss in training, to answers in validation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from latentwire.data.metrics import Response
from latentwire.losses import token_mean
from latentwire.models.state_cache import StateCache
from latentwire.objectives import Loss
from latentwire.prompting.scoring import respond
from latentwire.train.batch import TaskBatch
from latentwire.train.config import TrainConfig
from latentwire.train.training_data import Part, TaskData
from latentwire.wire.wire import Wire


class Learner(Protocol):
    """What the training loop and the validation ask of whatever is trained."""

    loss: Loss

    @property
    def module(self) -> nn.Module:
        """Its weights are trained; everything else is frozen."""

    @property
    def device(self) -> torch.device:
        """Where the module is."""

    def __call__(
        self, data: TaskData, part: Part, index: Sequence[int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted loss of some examples, and every term before it is weighted."""

    def respond(self, data: TaskData, index: Sequence[int]) -> list[Response]:
        """Answers to some val examples, as in use: their choices are scored."""

    def answer_nll(self, data: TaskData, index: Sequence[int]) -> Float[Tensor, ""]:
        """Mean negative log-likelihood of the right answers to some val examples, nats a token."""


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

    @property
    def module(self) -> nn.Module:
        """The bridge."""
        return self.wire.bridge

    @property
    def device(self) -> torch.device:
        """Where the bridge is."""
        return self.wire.receiver.lm.device

    def respond(self, data: TaskData, index: Sequence[int]) -> list[Response]:
        """What the receiver answers to some val examples behind the data's own prompt."""
        val, builder = data.val, data.reading.builder
        soft = self.wire.soft_tokens(self.cache.states_of([val.keys[i] for i in index]))
        requests = [builder.build_handoff(val.examples[i]) for i in index]
        return respond(self.wire.receiver, data.task, requests, soft, ranking_only=True)

    def answer_nll(self, data: TaskData, index: Sequence[int]) -> Float[Tensor, ""]:
        """Mean negative log-likelihood of the right answers to some val examples, nats a token."""
        batch = self.batch(data, data.val, index)
        return token_mean(batch.answer_nll, batch.targets)

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
        device = self.device
        states = self.cache.states_of([part.keys[i] for i in index])
        with self._precision():
            soft = self._bridge(states.states.to(device), states.mask.to(device))
        soft = soft.float()
        examples = [part.examples[i] for i in index]
        return TaskBatch(data.reading, examples, soft, self.loss.channel(soft))

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast("cuda", torch.bfloat16) if self._half else nullcontext()
