"""Mean of a metric with its confidence interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from latentwire.eval.statistics.intervals import Resamples, wilson_interval


@dataclass(frozen=True)
class Score:
    """Mean of a metric with its 95 % confidence interval.

    Args:
        value: Share of correct answers, or mean of another metric, 0..1, higher is better.
        ci_low: Lower end of the interval.
        ci_high: Upper end of the interval.
        n: Number of examples.
        n_seeds: Number of seeds whose answers to these examples are pooled.
    """

    value: float
    ci_low: float
    ci_high: float
    n: int
    n_seeds: int = 1

    def to_json(self) -> dict[str, Any]:
        """Return the score as a JSON object."""
        return asdict(self)


def accuracy(correct: Sequence[bool]) -> Score:
    """Return the accuracy with its 95 % Wilson interval.

    Raises: ValueError: If there are no examples.
    Source: Wilson 1927, JASA 22; computed by statsmodels.
    """
    n = len(correct)
    if not n:
        raise ValueError("an accuracy needs at least one example")
    right = int(np.sum(correct))
    return Score(right / n, *wilson_interval(right, n), n)


def pooled_accuracy(values: Float[np.ndarray, "s n"]) -> Score:
    """Return the accuracy of several seeds on the same examples, with its 95 % interval.

    Answers of several seeds to one example are correlated, so examples are clusters: the clustered
    standard error gives an effective sample size between n and s * n, which Wilson's interval uses.
    The interval covers other examples for these seeds, not the variation between seeds.

    Args:
        values: Correct (1) or wrong (0), by seed and example, (s, n).
    Raises: ValueError: If there are no answers, or values other than 0 and 1.
    Source: Miller 2024, Adding Error Bars to Evals, arXiv:2411.00640, section 2.2 (clustered
        standard error); Wilson 1927, JASA 22; Korn and Graubard 1998, Survey Methodology 24
        (effective sample size).
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"a pooled accuracy needs answers (s, n); their shape is {values.shape}")
    if not np.isin(values, (0.0, 1.0)).all():
        raise ValueError(
            "a pooled accuracy needs values that are 0 or 1; use mean_score for others"
        )
    n_seeds, n = values.shape
    share = float(values.mean())
    by_example = values.mean(axis=0)
    squared_error = float(((by_example - share) ** 2).sum()) / n**2
    effective = float(n)
    if np.ptp(by_example) > 0:
        effective = min(max(share * (1 - share) / squared_error, n), n_seeds * n)
    return Score(share, *wilson_interval(share * effective, effective), n, n_seeds)


def mean_score(values: Sequence[float], seed: int = 0, n_seeds: int = 1) -> Score:
    """Return the mean of a metric with its 95 % bootstrap interval from 10,000 resamples.

    Args:
        values: Metric of each example, 0..1; for several seeds its mean over them.
        seed: Random seed of the resamples.
        n_seeds: Number of seeds.
    Raises: ValueError: If there are no examples.
    Source: Efron 1987, JASA 82 (BCa).
    """
    if not len(values):
        raise ValueError("a mean needs at least one example")
    data = np.asarray(values, dtype=float)[:, None]
    low, high = Resamples.draw(data, seed=seed).intervals()[0]
    value = float(data.mean())
    return Score(value, min(float(low), value), max(float(high), value), len(data), n_seeds)
