"""A bridge compiled for inference: fused kernels and, on a GPU, one CUDA graph."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from latentwire.bridge.base import Bridge

_STEP = 32  # tokens; lengths are padded to a multiple, as each length needs its own graph
_N_WARMUP_RUNS = 2  # per shape: the first compiles, the second records a CUDA graph


class CompiledBridge:
    """A bridge run through torch.compile. It shares the weights of the bridge.

    Args:
        bridge: Bridge in evaluation mode; it is not changed.
        options: Options of torch.compile, such as `mode` and `backend`.
    """

    def __init__(self, bridge: Bridge, **options: Any) -> None:
        self._run = torch.compile(bridge, **options)
        self._seen: set[tuple[object, ...]] = set()

    def __call__(
        self, states: Float[Tensor, "b l t ds"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k dr"]:
        """Same as `Bridge.forward`."""
        n_pad = -states.shape[2] % _STEP
        padded = F.pad(states, (0, 0, 0, n_pad)), F.pad(mask, (0, n_pad))
        shape = (*padded[0].shape, torch.is_grad_enabled(), torch.is_inference_mode_enabled())
        if shape not in self._seen:
            self._seen.add(shape)
            for _ in range(_N_WARMUP_RUNS):
                self._run(*padded)
        soft: Tensor = self._run(*padded)
        return soft.clone()  # the next run of a CUDA graph overwrites its output
