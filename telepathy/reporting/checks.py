"""Whether baselines beat what they should beat, in words."""

from __future__ import annotations

from typing import Any

from telepathy.experiments.analysis.comparisons import LEVEL
from telepathy.reporting.tables import p_value, points


def check_sentence(check: dict[str, Any]) -> str:
    """Whether a baseline beats what it should beat.

    Args:
        check: One of the `checks` of `results.json`.
    """
    found = f"{points(check)} points, p (Holm) {p_value(check['p_adjusted'])}"
    if check["p_adjusted"] > LEVEL:
        return f"Not shown: that {check['a']} is better or worse than {check['b']}; {found}."
    if is_weak(check):
        return f"Weak baseline: {check['a']} is worse than {check['b']}, {found}."
    return f"No strawman: {check['a']} is better than {check['b']}, {found}."


def is_weak(check: dict[str, Any]) -> bool:
    """Whether a baseline is shown to be worse than what it should beat."""
    return bool(check["p_adjusted"] <= LEVEL and check["difference"] < 0)
