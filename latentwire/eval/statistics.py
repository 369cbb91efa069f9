"""Intervals and paired tests for accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Score:
    """A measured share with its uncertainty.

    Args:
        value: Share of right answers, 0..1, higher is better.
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
        difference: Accuracy of a minus accuracy of b on the shared examples.
        only_a: Examples that only a answered right.
        only_b: Examples that only b answered right.
        p_value: Exact two-sided McNemar test.
        n: Shared examples.
    """

    a: str
    b: str
    difference: float
    only_a: int
    only_b: int
    p_value: float
    n: int

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


def compare(
    a: str, b: str, correct_a: dict[str, bool], correct_b: dict[str, bool]
) -> Comparison | None:
    """Exact McNemar test on the examples both methods answered; None if they share none.

    Args:
        a: Name of the first method.
        b: Name of the second.
        correct_a: Example id -> whether a was right.
        correct_b: The same for b.
    Source: McNemar 1947, Psychometrika 12; exact binomial form by scipy.
    """
    from scipy.stats import binomtest

    shared = sorted(correct_a.keys() & correct_b.keys())
    if not shared:
        return None
    only_a = sum(correct_a[i] and not correct_b[i] for i in shared)
    only_b = sum(correct_b[i] and not correct_a[i] for i in shared)
    differing = only_a + only_b
    p_value = float(binomtest(only_a, differing, 0.5).pvalue) if differing else 1.0
    return Comparison(a, b, (only_a - only_b) / len(shared), only_a, only_b, p_value, len(shared))
