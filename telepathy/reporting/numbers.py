"""Format scores, differences and p-values for tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_METRIC_NAMES = {
    "acc": "accuracy",
    "acc_norm": "acc_norm",
    "exact_match": "exact match",
    "f1": "F1",
    "final_number": "correct number",
    "rouge_l": "ROUGE-L",
}


def metric_name(metric: str) -> str:
    """Display name of a metric."""
    return _METRIC_NAMES.get(metric, metric)


def percent(share: float) -> str:
    """A share in percent: `61.3 %`."""
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """Difference of two shares in percentage points: `+2.1 points`."""
    return f"{100 * difference:+.1f} points"


def interval(score: Mapping[str, Any]) -> str:
    """The 95 % interval of a score, in percent: `93.0 - 97.1`."""
    return f"{100 * score['ci_low']:.1f} - {100 * score['ci_high']:.1f}"


def score_and_interval(score: Mapping[str, Any]) -> str:
    """A score with its 95 % interval, in percent: `95.5 (93.0 - 97.1)`."""
    return f"{100 * score['value']:.1f} ({interval(score)})"


def difference_and_interval(comparison: Mapping[str, Any]) -> str:
    """A difference with its 95 % interval, in points: `+2.1 (+0.3 to +3.9)`."""
    low, high = 100 * comparison["ci_low"], 100 * comparison["ci_high"]
    return f"{100 * comparison['difference']:+.1f} ({low:+.1f} to {high:+.1f})"


def p_value(value: float) -> str:
    """A p-value in a table cell: `0.012`, `< 0.001`."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def p_equals(value: float) -> str:
    """A p-value in a sentence: `p = 0.012`, `p < 0.001`."""
    return f"p {p_value(value)}" if value < 0.001 else f"p = {p_value(value)}"


def count(n: int, noun: str) -> str:
    """A count with its noun: `1 run`, `3 runs`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
