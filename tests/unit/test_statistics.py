"""Scores and their intervals agree with their definitions."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from statsmodels.api import OLS
from statsmodels.stats.proportion import proportion_confint

from latentwire.eval.statistics import accuracy, mean_score, pooled_accuracy
from latentwire.eval.statistics.intervals import difference_interval, wilson_interval


def test_wilson_interval_by_hand() -> None:
    score = accuracy([True] * 90 + [False] * 10)
    z, n, p = 1.959964, 100, 0.9
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert score.value == 0.9 and score.n == 100 and score.n_seeds == 1
    assert score.ci_low == pytest.approx(centre - half, abs=1e-6)
    assert score.ci_high == pytest.approx(centre + half, abs=1e-6)


@pytest.mark.parametrize("right", [0, 20])
def test_interval_stays_in_bounds(right: int) -> None:
    score = accuracy([True] * right + [False] * (20 - right))
    assert 0 <= score.ci_low <= score.value <= score.ci_high <= 1


def test_a_score_of_nothing_is_refused() -> None:
    for refused in (
        lambda: accuracy([]),
        lambda: mean_score([]),
        lambda: pooled_accuracy(np.empty((2, 0))),
        lambda: pooled_accuracy(np.ones(4)),
        lambda: pooled_accuracy(np.full((2, 4), 0.5)),
    ):
        with pytest.raises(ValueError):
            refused()


def test_one_seed_pooled_is_plain_wilson() -> None:
    right = [True] * 33 + [False] * 17
    pooled, plain = pooled_accuracy(np.array([right])), accuracy(right)
    assert pooled.ci_low == pytest.approx(plain.ci_low, abs=1e-12)
    assert pooled.ci_high == pytest.approx(plain.ci_high, abs=1e-12)


def test_clustered_interval_by_hand() -> None:
    # Shares by question 1, 1/2, 1/2, 0: mean 1/2, SE^2 = (1/4 + 0 + 0 + 1/4) / 16 = 1/32.
    score = pooled_accuracy(np.array([[1, 1, 0, 0], [1, 0, 1, 0]]))
    low, high = proportion_confint(4, 8, method="wilson")  # n_eff = (1/4) / (1/32) = 8 = s * n
    assert (score.value, score.n, score.n_seeds) == (0.5, 4, 2)
    assert score.ci_low == pytest.approx(low, abs=1e-12)
    assert score.ci_high == pytest.approx(high, abs=1e-12)
    assert score.to_json()["n_seeds"] == 2


def test_clustered_error_is_that_of_statsmodels() -> None:
    rng = np.random.default_rng(3)
    values = (rng.random((3, 200)) < rng.beta(2, 1, 200)).astype(float)
    groups = np.tile(np.arange(200), 3)
    fit = OLS(values.ravel(), np.ones(600)).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}
    )
    share = values.mean()
    effective = share * (1 - share) / fit.bse[0] ** 2
    assert 200 < effective < 600
    low, high = proportion_confint(share * effective, effective, method="wilson")
    score = pooled_accuracy(values)
    assert score.ci_low == pytest.approx(low, abs=1e-9)
    assert score.ci_high == pytest.approx(high, abs=1e-9)


def test_clustered_interval_covers_and_the_naive_one_does_not() -> None:
    rng = np.random.default_rng(0)
    truth, tables = 0.75, 400
    clustered = naive = 0
    for _ in range(tables):
        chance = rng.beta(1.5, 0.5, 150)  # mean 0.75: some questions are hard for every seed
        values = rng.random((5, 150)) < chance
        score = pooled_accuracy(values)
        low, high = wilson_interval(float(values.sum()), values.size)
        clustered += score.ci_low <= truth <= score.ci_high
        naive += low <= truth <= high
    assert 0.925 <= clustered / tables <= 0.975
    assert naive / tables < 0.85


@pytest.mark.parametrize(
    "values",
    [np.ones((3, 40)), np.zeros((3, 40)), np.tile([[0.0], [1.0]], (1, 40)), np.ones((3, 1))],
    ids=["all right", "all wrong", "each question half", "one question"],
)
def test_pooled_without_variance_falls_back_to_the_questions(values: np.ndarray) -> None:
    score, n = pooled_accuracy(values), values.shape[1]
    assert (score.ci_low, score.ci_high) == wilson_interval(score.value * n, n)
    assert score.ci_high - score.ci_low > 0.05


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_equal_values_still_have_an_honest_interval(value: float) -> None:
    score = mean_score([value] * 10)
    assert 0 <= score.ci_low <= score.value == pytest.approx(value)
    assert score.value <= score.ci_high <= 1
    assert score.ci_high - score.ci_low > 0.1


def test_a_mean_of_one_example_knows_next_to_nothing() -> None:
    score = mean_score([0.5])
    assert score.n == 1 and score.ci_high - score.ci_low > 0.8


def test_difference_interval_where_nothing_differs_is_wilsons_bound() -> None:
    low, high = difference_interval(0.0, 0.0, 1000)
    assert high == -low == wilson_interval(0, 1000)[1]
    assert difference_interval(1.0, 0.0, 20)[1] == 1


def test_importing_is_cheap() -> None:
    code = "import sys, latentwire.eval.statistics, latentwire.eval.verdict\n"
    code += "assert not {'torch', 'scipy', 'statsmodels'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
