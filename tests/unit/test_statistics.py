"""Intervals and tests agree with their definitions."""

from __future__ import annotations

import math

import pytest

from latentwire.eval.statistics import accuracy, compare, mean_score


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


def test_bootstrap_mean_agrees_with_the_normal_interval() -> None:
    values = [i / 399 for i in range(400)]
    score = mean_score(values)
    half = 1.959964 * math.sqrt((400 * 400 - 1) / 12) / 399 / math.sqrt(400)
    assert score.value == pytest.approx(0.5) and score.n == 400
    assert score.ci_low == pytest.approx(0.5 - half, abs=2e-3)
    assert score.ci_high == pytest.approx(0.5 + half, abs=2e-3)


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_equal_values_still_have_an_honest_interval(value: float) -> None:
    score = mean_score([value] * 10)
    assert 0 <= score.ci_low <= score.value == value <= score.ci_high <= 1
    assert score.ci_high - score.ci_low > 0.1


def test_other_metrics_are_compared_by_permutation() -> None:
    a = {str(i): 0.5 + 0.01 * (i % 7) for i in range(30)}
    better = compare("a", "b", a, {i: value - 0.2 for i, value in a.items()})
    level = compare("a", "b", a, {i: a[str((int(i) + 1) % 30)] for i in a})
    assert better is not None and level is not None
    assert better.test == level.test == "permutation"
    assert better.p_value < 0.001 and better.only_a == 30
    assert level.p_value > 0.3
