"""Learners: compute the loss of a trained module in training, and its answers in validation."""

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
from latentwire.train.training_data import SplitData, TaskData
from latentwire.wire.wire import Wire


class Learner(Protocol):
    """Interface between the training loop and the module that it trains."""

    loss: Loss

    @property
    def module(self) -> nn.Module:
        """The trained module; everything else is frozen."""

    @property
    def device(self) -> torch.device:
        """Device of the module."""

    def __call__(
        self, data: TaskData, split: SplitData, index: Sequence[int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss of the examples at these indices, and each unweighted term by name."""

    def respond(self, data: TaskData, index: Sequence[int]) -> list[Response]:
        """Responses to the val examples at these indices, with scores of their choices."""

    def answer_nll(self, data: TaskData, index: Sequence[int]) -> Float[Tensor, ""]:
        """Mean negative log-likelihood of right answers to val examples, nats per token."""


class BridgeLearner:
    """Learner that runs the bridge on cached sender states and the objectives on its output.

    Args:
        wire: The wire whose bridge is trained.
        cache: Sender states of all examples.
        loss: The objectives.
        config: Training options; `compile` and `precision` are used here.
    """

    def __init__(self, wire: Wire, cache: StateCache, loss: Loss, config: TrainConfig) -> None:
        self.wire, self.cache, self.loss = wire, cache, loss
        # Text lengths vary between batches; dynamic shapes avoid a compilation for each length.
        self._bridge = torch.compile(wire.bridge, dynamic=True) if config.compile else wire.bridge
        lm = wire.receiver.lm
        half = lm.device.type == "cuda" and lm.dtype is torch.bfloat16
        self._half = half and config.precision == "auto"

    @property
    def module(self) -> nn.Module:
        return self.wire.bridge

    @property
    def device(self) -> torch.device:
        return self.wire.receiver.lm.device

    def respond(self, data: TaskData, index: Sequence[int]) -> list[Response]:
        val, builder = data.val, data.prompted.builder
        soft = self.wire.soft_tokens(self.cache.states_of([val.keys[i] for i in index]))
        requests = [builder.build_handoff(val.examples[i]) for i in index]
        return respond(self.wire.receiver, data.task, requests, soft, ranking_only=True)

    def answer_nll(self, data: TaskData, index: Sequence[int]) -> Float[Tensor, ""]:
        batch = self.batch(data, data.val, index)
        return token_mean(batch.answer_nll, batch.targets)

    def __call__(
        self, data: TaskData, split: SplitData, index: Sequence[int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Same as in `Learner`, plus the bridge's weighted losses (`own.*`) in training mode."""
        batch = self.batch(data, split, index)
        total, values = self.loss(batch)
        if self.wire.bridge.training:
            for name, value in self.wire.bridge.own_losses().items():
                total = total + value
                values[f"own.{name}"] = value.detach()
        return total, values

    def batch(self, data: TaskData, split: SplitData, index: Sequence[int]) -> TaskBatch:
        """Batch of the examples at these indices, for the objectives."""
        device = self.device
        states = self.cache.states_of([split.keys[i] for i in index])
        with self._precision():
            soft = self._bridge(states.states.to(device), states.mask.to(device))
        soft = soft.float()
        examples = [split.examples[i] for i in index]
        return TaskBatch(data.prompted, examples, soft, self.loss.channel(soft))

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast("cuda", torch.bfloat16) if self._half else nullcontext()
