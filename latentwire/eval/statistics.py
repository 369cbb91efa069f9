"""Intervals and paired tests for shares of right answers and for other means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Score:
    """A measured mean with its uncertainty.

    Args:
        value: Share of right answers, or mean of another metric, 0..1, higher is better.
        ci_low: Lower end of the 95 % interval.
        ci_high: Upper end.
        n: Examples behind it.
    """

    value: float
    ci_low: float
    ci_high: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """The score as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same examples.

    Args:
        a: First method.
        b: Second method.
        difference: Score of a minus score of b on the shared examples.
        only_a: Examples on which only a is right; for other metrics, on which a is better.
        only_b: The same for b.
        p_value: Two-sided, by `test`.
        n: Shared examples.
        test: `mcnemar` (exact) for right or wrong, `permutation` (paired) for other metrics.
    """

    a: str
    b: str
    difference: float
    only_a: int
    only_b: int
    p_value: float
    n: int
    test: str = "mcnemar"

    def to_json(self) -> dict[str, Any]:
        """The comparison as a JSON object."""
        return asdict(self)


def accuracy(correct: Sequence[bool]) -> Score:
    """Accuracy with its Wilson interval, 95 %.

    Raises: ValueError: If there are no examples.
    Source: Wilson 1927, JASA 22; computed by statsmodels.
    """
    from statsmodels.stats.proportion import proportion_confint

    if not correct:
        raise ValueError("an accuracy needs at least one example")
    n, right = len(correct), sum(correct)
    low, high = proportion_confint(right, n, alpha=0.05, method="wilson")
    value = right / n
    # Rounding may leave an end a hair on the wrong side of the value.
    return Score(value, max(min(float(low), value), 0.0), min(max(float(high), value), 1.0), n)


def mean_score(values: Sequence[float], seed: int = 0) -> Score:
    """Mean of a metric between 0 and 1 with its bootstrap interval, 95 %, 10,000 resamples.

    Raises: ValueError: If there are no examples.
    Source: Efron 1987, JASA 82 (BCa); computed by scipy.
    """
    from scipy.stats import bootstrap

    if not values:
        raise ValueError("a mean needs at least one example")
    data = np.asarray(values, dtype=float)
    value = float(data.mean())
    if np.ptp(data) == 0:  # nothing to resample
        return _constant(value, len(data))
    found = bootstrap(
        (data,),
        np.mean,
        n_resamples=10_000,
        batch=200,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Score(value, min(float(found.low), value), max(float(found.high), value), len(data))


def compare(
    a: str, b: str, values_a: dict[str, float], values_b: dict[str, float]
) -> Comparison | None:
    """Paired test on the examples both methods answered; None if they share none.

    Args:
        a: Name of the first method.
        b: Name of the second.
        values_a: Example id -> the metric of a, 0..1; right and wrong are 1 and 0.
        values_b: The same for b.
    Source: McNemar 1947, Psychometrika 12 (exact binomial form), where all values are 0 or 1; else
        a sign-flip permutation test, 9,999 resamples. Both by scipy.
    """
    shared = sorted(values_a.keys() & values_b.keys())
    if not shared:
        return None
    x, y = (np.array([float(v[i]) for i in shared]) for v in (values_a, values_b))
    only_a, only_b = int((x > y).sum()), int((y > x).sum())
    binary = bool(np.isin(np.concatenate([x, y]), (0.0, 1.0)).all())
    p_value = _mcnemar(only_a, only_b) if binary else _permutation(x - y)
    return Comparison(
        a,
        b,
        float((x - y).mean()),
        only_a,
        only_b,
        p_value,
        len(shared),
        "mcnemar" if binary else "permutation",
    )


def _mcnemar(only_a: int, only_b: int) -> float:
    from scipy.stats import binomtest

    differing = only_a + only_b
    return float(binomtest(only_a, differing, 0.5).pvalue) if differing else 1.0


def _permutation(differences: np.ndarray[Any, Any]) -> float:
    from scipy.stats import permutation_test

    if not differences.any():
        return 1.0
    return float(
        permutation_test(
            (differences,),
            np.mean,
            permutation_type="samples",
            n_resamples=9_999,
            batch=200,
            rng=np.random.default_rng(0),
        ).pvalue
    )


def _constant(value: float, n: int) -> Score:
    """All values alike: the interval of as many rights or wrongs, which is wide for small n."""
    bound = accuracy([True] * n).ci_low
    return Score(value, value * bound, 1 - (1 - value) * bound, n)
