"""Latency per example, measured in the same way for all methods."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.method import Method


@dataclass(frozen=True)
class Timing:
    """Latency from text to answer at batch size 1, tokenization included.

    Args:
        p50: Median in milliseconds.
        low: Minimum in milliseconds.
        high: Maximum in milliseconds.
        n: Number of timed answers.
    """

    p50: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """Return the timing as a JSON object."""
        return asdict(self)


def time_methods(
    methods: Sequence[Method],
    examples: Sequence[Example],
    *,
    progress: Progress | None = None,
) -> dict[str, Timing]:
    """Measure latencies in rounds, in each of which every method answers the same example once.

    The first round warms up and is not counted. The order of methods rotates from round to round,
    so that a machine that slows down affects all methods equally.

    Args:
        methods: Prepared methods.
        examples: At least two examples, one per round.
        progress: Called after each round.
    """
    taken: dict[str, list[float]] = {method.name: [] for method in methods}
    silent = Progress()
    with (progress or silent).task("timing", len(examples)) as bar:
        for turn, example in enumerate(examples):
            start = turn % len(methods)
            for method in [*methods[start:], *methods[:start]]:
                _synchronize()
                began = time.perf_counter()
                method.predict([example], silent, fresh=True)
                _synchronize()
                if turn > 0:
                    taken[method.name].append((time.perf_counter() - began) * 1000)
            bar.advance()
    return {
        name: Timing(statistics.median(values), min(values), max(values), len(values))
        for name, values in taken.items()
    }


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()
