"""Stopwatch of all benchmarks: the device is waited for, and what is compared takes turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress

Work = Callable[[int], object]
"""A piece of work; it is told the number of the round, so that rounds can have other inputs."""


@dataclass(frozen=True)
class Spread:
    """How long a piece of work takes.

    Args:
        p50: Median, milliseconds.
        p95: 95th percentile, milliseconds.
        p99: 99th percentile, milliseconds.
        n: Timed rounds; with fewer than 100 the 99th percentile is nearly the slowest.
    """

    p50: float
    p95: float
    p99: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of milliseconds, at least one."""
        p50, p95, p99 = np.percentile(values, [50, 95, 99]).tolist()
        return cls(p50, p95, p99, len(values))


def milliseconds(work: Callable[[], object]) -> float:
    """How long `work` takes, until every device is done."""
    synchronise()
    began = time.perf_counter()
    work()
    synchronise()
    return 1000 * (time.perf_counter() - began)


def synchronise() -> None:
    """Wait until every accelerator has done what it was given."""
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            torch.cuda.synchronize(index)
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()


def race(
    works: Mapping[str, Work],
    rounds: int,
    *,
    warm_up: int = 1,
    progress: Progress | None = None,
    title: str = "timing",
) -> dict[str, list[float]]:
    """Time several pieces of work in turn: a machine that slows down slows all of them alike.

    Args:
        works: By name.
        rounds: Timed rounds, at least one; every round gives each piece its turn, and who begins
            changes from round to round.
        warm_up: Rounds before them that are not counted.
        progress: Told of each round.
        title: Of its bar.
    Returns: Milliseconds by name, one for each round: values of one place are of one round.
    Raises: UsageError: If there is no round.
    """
    if rounds < 1:
        raise UsageError(f"A benchmark wants at least one round; it was given {rounds}.")
    taken: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    with (progress or Progress()).task(title, rounds + warm_up) as bar:
        for turn in range(-warm_up, rounds):
            start = turn % len(names)
            for name in names[start:] + names[:start]:
                spent = milliseconds(partial(works[name], turn))
                if turn >= 0:
                    taken[name].append(spent)
            bar.advance()
    return taken
