"""A moving average of the bridge's weights: less noise than those of the last step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of a module's weights. Buffers are taken as they are.

    Args:
        module: Its weights are the first value of the average.
        decay: How much of the average stays at each step, 0..1. The first steps keep less, so
            that the untrained weights fade.
    Source: Kingma & Ba 2015, arXiv:1412.6980, section 7.2 (averaged weights); the start is that of
        TensorFlow's ExponentialMovingAverage with `num_updates`.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self.weights = {name: v.detach().clone() for name, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after `step` steps, counted from 1."""
        decay = min(self._decay, step / (step + 9))
        trained = {name for name, _ in module.named_parameters()}
        for name, value in module.state_dict().items():
            if name in trained:
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)

    def load(self, weights: dict[str, Tensor]) -> None:
        """Go on from a stored average."""
        for name, value in weights.items():
            self.weights[name].copy_(value)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Inside, the module has the averaged weights; behind it, exactly its own again."""
        own = {name: v.detach().clone() for name, v in module.state_dict().items()}
        module.load_state_dict(self.weights)
        try:
            yield
        finally:
            module.load_state_dict(own)
