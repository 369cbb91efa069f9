"""Time work on any device, and compare several pieces of work in interleaved rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress

TimedWork = Callable[[int], object]
"""Work to time. Its argument is the index of the round, so that rounds can have other inputs."""


@dataclass(frozen=True)
class LatencyQuantiles:
    """Quantiles of measured times.

    Args:
        p50: Median, milliseconds.
        p95: 95th percentile, milliseconds.
        p99: 99th percentile, milliseconds.
        n: Number of timed rounds. With fewer than 100, p99 is close to the slowest round.
    """

    p50: float
    p95: float
    p99: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> LatencyQuantiles:
        """Return the quantiles of at least one time in milliseconds."""
        p50, p95, p99 = np.percentile(values, [50, 95, 99]).tolist()
        return cls(p50, p95, p99, len(values))


def milliseconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes, including pending work on every device."""
    synchronize()
    began = time.perf_counter()
    work()
    synchronize()
    return 1000 * (time.perf_counter() - began)


def synchronize() -> None:
    """Wait until every accelerator has finished its pending work."""
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            torch.cuda.synchronize(index)
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()


def time_interleaved(
    works: Mapping[str, TimedWork],
    rounds: int,
    *,
    warm_up: int = 1,
    progress: Progress | None = None,
    title: str = "timing",
) -> dict[str, list[float]]:
    """Time several pieces of work in interleaved rounds, so that a slowdown affects all of them.

    Args:
        works: Work by name.
        rounds: Number of timed rounds, >= 1. Each round runs every piece once; the one that comes
            first changes from round to round.
        warm_up: Number of rounds before them that are not timed.
        progress: Called after each round.
        title: Title of the progress bar.
    Returns: Milliseconds of every round, in order, by name.
    Raises: UsageError: If `rounds` is below 1.
    """
    if rounds < 1:
        raise UsageError(f"The number of rounds is {rounds}; it must be 1 or more.")
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
