"""The bootstrap is scipy's, only faster, and shares its draws between methods."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import bootstrap

from latentwire.eval.statistics import Resamples, bca_intervals, mean_score
from latentwire.eval.statistics.intervals import means_at

_KINDS = {
    "even": lambda rng, n: rng.random(n),
    "skewed": lambda rng, n: rng.random(n) ** 6,
    "right or wrong": lambda rng, n: (rng.random(n) < 0.85).astype(float),
}


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("n", [30, 201])
def test_agrees_with_scipy_on_the_same_draws(kind: str, n: int) -> None:
    values = _KINDS[kind](np.random.default_rng(n), n)
    theirs = bootstrap((values,), np.mean, n_resamples=2000, rng=np.random.default_rng(5))
    index = np.random.default_rng(5).integers(0, n, (2000, n))  # what scipy draws
    means = means_at(index.astype(np.int32), values[:, None])
    assert means[:, 0] == pytest.approx(theirs.bootstrap_distribution, abs=1e-12)
    low, high = bca_intervals(values[:, None], means)[0]
    assert low == pytest.approx(theirs.confidence_interval.low, abs=1e-9)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=1e-9)


@pytest.mark.parametrize("n", [100, 3000])
def test_all_methods_and_differences_agree_with_scipy(n: int) -> None:
    rng = np.random.default_rng(1)
    ease = rng.random((n, 1))
    values = (ease + rng.random((n, 4))) / 2
    drawn = Resamples.draw(values, draws=1000)
    columns = [*values.T, *(values[:, 2:3] - values[:, [0, 1, 3]]).T]
    means = [*drawn.means.T, *(drawn.means[:, 2:3] - drawn.means[:, [0, 1, 3]]).T]
    ours = np.concatenate([drawn.intervals(), drawn.differences(first=2)])
    for column, distribution, (low, high) in zip(columns, means, ours, strict=True):
        theirs = bootstrap(
            (column,),
            np.mean,
            n_resamples=0,
            bootstrap_result=SimpleNamespace(bootstrap_distribution=distribution),
        ).confidence_interval
        assert low == pytest.approx(theirs.low, abs=1e-9)
        assert high == pytest.approx(theirs.high, abs=1e-9)


def test_paired_differences_are_narrower_than_unpaired_ones() -> None:
    rng = np.random.default_rng(0)
    ease = rng.random(500)
    values = np.stack([ease, (ease + 0.1 * rng.random(500)).clip(max=1)], axis=1)
    drawn = Resamples.draw(values, draws=2000)
    width = np.ptp(drawn.differences()[0])
    assert width < np.ptp(drawn.intervals(), axis=1).min() / 5


def test_few_kinds_of_rows_are_drawn_as_kinds_with_the_same_distribution() -> None:
    rng = np.random.default_rng(2)
    values = (rng.random((2000, 2)) < 0.6).astype(float)  # four kinds: multinomial
    quick = Resamples.draw(values).means
    index = np.random.default_rng(0).integers(0, 2000, (4000, 2000), dtype=np.int32)
    plain = np.concatenate([means_at(part, values) for part in np.split(index, 8)])
    assert np.cov(quick.T) == pytest.approx(np.cov(plain.T), abs=1e-5)
    assert quick.mean(axis=0) == pytest.approx(values.mean(axis=0), abs=1e-3)


def test_bootstrap_mean_agrees_with_the_normal_interval() -> None:
    score = mean_score([i / 399 for i in range(400)])
    half = 1.959964 * math.sqrt((400 * 400 - 1) / 12) / 399 / math.sqrt(400)
    assert score.value == pytest.approx(0.5) and score.n == 400
    assert score.ci_low == pytest.approx(0.5 - half, abs=2e-3)
    assert score.ci_high == pytest.approx(0.5 + half, abs=2e-3)


def test_equal_sums_are_ties_whatever_their_rounding() -> None:
    # Thirds in another order of summation: by chance the sums differ in the last bit.
    values = np.repeat([0.1, 0.3, 0.7], [40, 20, 40])[:, None]
    drawn = Resamples.draw(values, draws=4000)
    rounded = bca_intervals(values, drawn.means.round(10))
    assert bca_intervals(values, drawn.means) == pytest.approx(rounded, abs=1e-9)


def test_a_constant_column_has_its_mean_as_raw_interval() -> None:
    values = np.full((50, 1), 0.3)
    assert bca_intervals(values, np.full((100, 1), 0.3)) == pytest.approx(np.full((1, 2), 0.3))


def test_one_odd_example_widens_the_interval() -> None:
    # A bootstrap of 49 zeros and a one would end at 0.
    low, high = Resamples.draw(np.eye(50, 2)).differences()[0]
    assert low < -0.05 and high > 0.05


def test_no_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Resamples.draw(np.empty((0, 3)))
