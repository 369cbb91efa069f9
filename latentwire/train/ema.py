"""Exponential moving average of trained weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightAverage:
    """Exponential moving average of a module's parameters, on torch's `AveragedModel`.

    Only the parameters are copied, because adapters refer to the layers of a whole model.

    Args:
        module: The trained module; its current parameters are the initial average.
        decay: Weight of the previous average at each step, 0..1. At step n it is at most
            n / (n + 9), so that the initial weights fade quickly.
    Source: Kingma & Ba 2015, arXiv:1412.6980, section 7.2 (averaged weights); the warm-up is that
        of TensorFlow's ExponentialMovingAverage with `num_updates`.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        def update(averages: Any, values: Any, n_averaged: Tensor | int) -> None:
            n = int(n_averaged)  # steps: the initial weights count as step 0
            step_decay = min(decay, n / (n + 9))
            get_ema_multi_avg_fn(step_decay)(averages, values, n)  # type: ignore[no-untyped-call]

        self._names = [name for name, _ in module.named_parameters()]
        self._own = nn.ParameterList(module.parameters())
        self._average = AveragedModel(self._own, multi_avg_fn=update)
        self.update()

    def update(self) -> None:
        """Include the current weights. Call it after each optimizer step."""
        self._average.update_parameters(self._own)

    def state_dict(self) -> dict[str, Tensor]:
        """Averaged parameters under their names in the module."""
        averages = (p.detach() for p in self._average.parameters())
        return dict(zip(self._names, averages, strict=True))

    def load_state_dict(self, state: dict[str, Tensor], n_steps: int) -> None:
        """Continue from an average that was saved after `n_steps` optimizer steps."""
        self._copy((state[name] for name in self._names), self._average)
        self._average.n_averaged.fill_(n_steps + 1)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Use the averaged parameters in the module inside the block."""
        own = [p.detach().clone() for p in self._own]
        self._copy(self._average.parameters(), self._own)
        try:
            yield
        finally:
            self._copy(own, self._own)

    @torch.no_grad()
    def _copy(self, values: Iterable[Tensor], target: nn.Module) -> None:
        for parameter, value in zip(target.parameters(), values, strict=True):
            parameter.copy_(value)
