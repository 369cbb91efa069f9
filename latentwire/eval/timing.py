"""Milliseconds per example, measured alike for all methods."""

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
    """How long one answer takes, text in to answer out, batch 1, tokenisation inside.

    Args:
        p50: Median, milliseconds.
        low: Fastest, milliseconds.
        high: Slowest, milliseconds.
        n: Timed answers.
    """

    p50: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """The timing as a JSON object."""
        return asdict(self)


def time_methods(
    methods: Sequence[Method],
    examples: Sequence[Example],
    *,
    progress: Progress | None = None,
) -> dict[str, Timing]:
    """Time methods interleaved: every round gives each method the same example once.

    The first round warms up and is not counted; who begins changes from round to round, so that
    a machine that slows down slows all methods alike.

    Args:
        methods: Prepared methods.
        examples: At least two; one per round.
        progress: Told of each round.
    """
    taken: dict[str, list[float]] = {method.name: [] for method in methods}
    silent = Progress()
    with (progress or silent).task("timing", len(examples)) as bar:
        for turn, example in enumerate(examples):
            start = turn % len(methods)
            for method in [*methods[start:], *methods[:start]]:
                _synchronise()
                began = time.perf_counter()
                method.predict([example], silent, fresh=True)
                _synchronise()
                if turn > 0:
                    taken[method.name].append((time.perf_counter() - began) * 1000)
            bar.advance()
    return {
        name: Timing(statistics.median(values), min(values), max(values), len(values))
        for name, values in taken.items()
    }


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()
