"""Intervals and tests agree with their definitions."""

from __future__ import annotations

import math

import pytest

from latentwire.eval.statistics import accuracy, compare


def test_wilson_interval_by_hand() -> None:
    score = accuracy([True] * 90 + [False] * 10)
    z, n, p = 1.959964, 100, 0.9
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert score.value == 0.9 and score.n == 100
    assert score.ci_low == pytest.approx(centre - half, abs=1e-6)
    assert score.ci_high == pytest.approx(centre + half, abs=1e-6)


@pytest.mark.parametrize("right", [0, 20])
def test_interval_stays_in_bounds(right: int) -> None:
    score = accuracy([True] * right + [False] * (20 - right))
    assert 0 <= score.ci_low <= score.value <= score.ci_high <= 1


def test_mcnemar_by_hand() -> None:
    # 8 against 2 discordant pairs: 2 * (C(10,0)+C(10,1)+C(10,2)) / 2**10
    a = {str(i): i < 8 for i in range(10)}
    b = {str(i): i >= 8 for i in range(10)}
    found = compare("a", "b", a, b)
    assert found is not None
    assert (found.only_a, found.only_b, found.difference) == (8, 2, 0.6)
    assert found.p_value == pytest.approx(2 * 56 / 1024)


def test_compare_uses_shared_examples_only() -> None:
    found = compare("a", "b", {"x": True, "y": False}, {"y": False, "z": True})
    assert found is not None and found.n == 1 and found.p_value == 1
    assert compare("a", "b", {"x": True}, {"y": True}) is None
