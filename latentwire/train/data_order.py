"""What is trained on when, and how fast: functions of the settings and the step alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch


def schedule(step: int, steps: int, warmup_steps: int) -> float:
    """Share of the highest learning rate at a step: linear warm-up, then a cosine to zero.

    Source: Loshchilov & Hutter 2017, SGDR, arXiv:1608.03983.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(steps - warmup_steps, 1)))


def batch_indices(n: int, batch_size: int, batch: int, seed: int) -> list[int]:
    """Examples of the batch with this number: a function of its arguments alone.

    Every epoch is a fresh permutation; a batch may end one epoch and begin the next.
    """
    index: list[int] = []
    for position in range(batch * batch_size, (batch + 1) * batch_size):
        index.append(int(_permutation(n, position // n, seed)[position % n]))
    return index


class BatchPlan:
    """Which examples of which task every batch holds. A batch is of one task: one prompt.

    Args:
        sizes: Training examples of each task.
        batch_size: Examples of a batch, over all processes.
        n_batches: How many batches the training draws.
        seed: Of tasks and examples.
        mixing: `proportional`: a task is drawn as often as its share of the examples; `equal`:
            all tasks are drawn alike.
    """

    def __init__(
        self, sizes: Sequence[int], batch_size: int, n_batches: int, seed: int, mixing: str
    ) -> None:
        self._sizes, self._batch_size, self._seed = sizes, batch_size, seed
        shares = np.array(sizes if mixing == "proportional" else [1] * len(sizes), dtype=float)
        draws = np.random.RandomState(seed).random_sample(n_batches)
        self._tasks = np.searchsorted(np.cumsum(shares / shares.sum())[:-1], draws, side="right")
        self._turns = np.zeros(n_batches, dtype=int)  # earlier batches of the same task
        for task in range(len(sizes)):
            mine = self._tasks == task
            self._turns[mine] = np.arange(mine.sum())

    def drawn(self) -> list[list[int]]:
        """The examples of each task that any batch holds, in their order."""
        found: list[set[int]] = [set() for _ in self._sizes]
        for number in range(len(self._tasks)):
            task, index = self.batch(number)
            found[task].update(index)
        return [sorted(each) for each in found]

    def batch(self, number: int) -> tuple[int, list[int]]:
        """The task of a batch, and the examples in it."""
        task, turn = int(self._tasks[number]), int(self._turns[number])
        return task, batch_indices(self._sizes[task], self._batch_size, turn, self._seed)


@lru_cache(maxsize=16)
def _permutation(n: int, epoch: int, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(n, generator=generator).numpy()
