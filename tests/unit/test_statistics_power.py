"""What a sample is said to show, it shows in four of five cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom
from statsmodels.stats.power import NormalIndPower

from latentwire.eval.statistics import PairedVariation, detectable_difference, examples_needed


def _power(n: int, difference: float, discordant: float, alpha: float = 0.05) -> float:
    """Power of the exact McNemar test, summed over all numbers of discordant examples."""
    discordant = max(discordant, difference)
    count = np.arange(n + 1)
    limit = binom.ppf(alpha / 2, count, 0.5)
    limit -= binom.cdf(limit, count, 0.5) > alpha / 2  # largest count that is significant
    share = (1 + difference / discordant) / 2
    found = binom.cdf(limit, count, 1 - share) + binom.cdf(limit, count, share)
    return float((binom.pmf(count, n, discordant) * found).sum())


@pytest.mark.parametrize("n", [100, 400, 2000, 10_000])
@pytest.mark.parametrize("discordant", [0.05, 0.2, 0.4])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_detectable_difference_has_the_power_it_claims(
    n: int, discordant: float, alpha: float
) -> None:
    found = detectable_difference(n, PairedVariation(discordant), alpha=alpha)
    assert found is not None
    # Cautious where few examples differ: it never promises more than there is.
    highest = 0.85 if n * discordant >= 80 else 0.97
    assert 0.77 <= _power(n, found, discordant, alpha) <= highest


def test_detectable_difference_in_simulation() -> None:
    rng, variation, n = np.random.default_rng(0), PairedVariation(0.03, size=0.2, exact=False), 300
    true = detectable_difference(n, variation)
    assert true is not None
    differences = rng.normal(true, np.sqrt(variation.mean_square - true**2), (4000, n))
    z = differences.sum(axis=1) / np.sqrt((differences**2).sum(axis=1))
    assert (np.abs(z) > 1.959964).mean() == pytest.approx(0.8, abs=0.025)


def test_examples_needed_is_the_inverse() -> None:
    for variation in (
        PairedVariation(0.2),
        PairedVariation(0.001),
        PairedVariation(0.02, size=0.1, exact=False),
    ):
        for n in (50, 777, 5000):
            found = detectable_difference(n, variation)
            assert found is not None
            assert abs(examples_needed(found, variation) - n) <= 1
            assert examples_needed(-found, variation) == examples_needed(found, variation)


def test_examples_needed_by_hand() -> None:
    # Connor: ((1.96 sqrt(.2) + .8416 sqrt(.2 - .0025)) / .05)^2 = 625.8
    assert examples_needed(0.05, PairedVariation(0.2, exact=False)) == 626
    # and about 2 / difference more for the exact test
    assert examples_needed(0.05, PairedVariation(0.2)) == pytest.approx(625.8 + 40, abs=1)


def test_small_differences_need_what_a_z_test_needs() -> None:
    theirs = NormalIndPower(ddof=0).solve_power(0.01 / 0.5**0.5, alpha=0.05, power=0.8, ratio=0)
    assert examples_needed(0.01, PairedVariation(0.5, exact=False)) == pytest.approx(
        theirs, rel=1e-3
    )


def test_a_sample_in_which_nothing_differs_does_not_promise_everything() -> None:
    found = detectable_difference(1000, PairedVariation(0.0))
    assert found is not None and found > 6 / 1000  # six discordant pairs are the least to reject
    assert detectable_difference(5, PairedVariation(0.2)) is None
    assert detectable_difference(6, PairedVariation(0.2)) is not None


def test_no_number_of_examples_shows_no_difference() -> None:
    with pytest.raises(ValueError, match="difference of 0"):
        examples_needed(0.0, PairedVariation(0.2))
