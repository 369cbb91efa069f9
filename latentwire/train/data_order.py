"""Data order and learning rate, which depend only on the configuration and the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch


def lr_factor(step: int, steps: int, warmup_steps: int) -> float:
    """Factor of the peak learning rate at a step: linear warm-up, then cosine decay to zero.

    The first step trains at 1 / warmup_steps; the schedules of transformers start at 0.

    Source: Loshchilov & Hutter 2017, SGDR, arXiv:1608.03983.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(steps - warmup_steps, 1)))


def batch_indices(n: int, batch_size: int, batch: int, seed: int) -> list[int]:
    """Indices of the examples in one batch.

    Each epoch is a new permutation; a batch may contain the end of one epoch and the start of the
    next.

    Args:
        n: Number of examples.
        batch_size: Examples per batch.
        batch: Index of the batch, counted from 0 over all epochs.
        seed: Random seed of the permutations.
    """
    index: list[int] = []
    for position in range(batch * batch_size, (batch + 1) * batch_size):
        index.append(int(_permutation(n, position // n, seed)[position % n]))
    return index


class BatchPlan:
    """Task and examples of every batch. All examples of a batch are from the same task.

    Args:
        sizes: Number of training examples of each task.
        batch_size: Examples per batch, over all processes.
        n_batches: Number of batches of the whole training run.
        seed: Random seed of tasks and examples.
        mixing: `proportional` samples tasks by their number of examples, `equal` uniformly.
    """

    def __init__(
        self, sizes: Sequence[int], batch_size: int, n_batches: int, seed: int, mixing: str
    ) -> None:
        self._sizes, self._batch_size, self._seed = sizes, batch_size, seed
        shares = np.array(sizes if mixing == "proportional" else [1] * len(sizes), dtype=float)
        draws = np.random.RandomState(seed).random_sample(n_batches)
        self._tasks = np.searchsorted(np.cumsum(shares / shares.sum())[:-1], draws, side="right")
        self._turns = np.zeros(n_batches, dtype=int)  # number of earlier batches of the same task
        for task in range(len(sizes)):
            mine = self._tasks == task
            self._turns[mine] = np.arange(mine.sum())

    def drawn(self) -> list[list[int]]:
        """Sorted indices of the examples of each task that are used in any batch."""
        found: list[set[int]] = [set() for _ in self._sizes]
        for batch in range(len(self._tasks)):
            task, index = self.batch(batch)
            found[task].update(index)
        return [sorted(each) for each in found]

    def batch(self, batch: int) -> tuple[int, list[int]]:
        """Index of a batch's task, and indices of its examples."""
        task, turn = int(self._tasks[batch]), int(self._turns[batch])
        return task, batch_indices(self._sizes[task], self._batch_size, turn, self._seed)


@lru_cache(maxsize=16)
def _permutation(n: int, epoch: int, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(n, generator=generator).numpy()
