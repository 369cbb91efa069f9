"""Paired tests and corrections agree with scipy and statsmodels, and with hand counts."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import norm, permutation_test
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from latentwire.eval.statistics import (
    Comparison,
    benjamini_hochberg,
    benjamini_hochberg_p_values,
    compare,
    holm,
    holm_p_values,
    mcnemar_p_value,
    sign_flip_p_value,
)


def _by_id(values: np.ndarray) -> dict[str, float]:
    return {f"{i:05d}": float(value) for i, value in enumerate(values)}


def _compared(x: np.ndarray, y: np.ndarray, b: str = "b") -> Comparison:
    found = compare("a", b, _by_id(x), _by_id(y))
    assert found is not None
    return found


def _counts(only_a: int, only_b: int, n: int, b: str = "b") -> Comparison:
    x = np.arange(n) < only_a
    y = (np.arange(n) >= only_a) & (np.arange(n) < only_a + only_b)
    return _compared(x, y, b)


def test_mcnemar_by_hand() -> None:
    # 8 against 2 discordant pairs: 2 * (C(10,0)+C(10,1)+C(10,2)) / 2**10
    found = _counts(8, 2, 10)
    assert (found.only_a, found.only_b, found.difference) == (8, 2, 0.6)
    assert found.p_value == pytest.approx(2 * 56 / 1024)
    assert found.test == "mcnemar" and found.p_adjusted is None


@pytest.mark.parametrize("only_a, only_b", [(0, 0), (0, 7), (12, 3), (40, 41), (90, 150)])
def test_mcnemar_agrees_with_statsmodels(only_a: int, only_b: int) -> None:
    theirs = mcnemar([[5, only_a], [only_b, 5]], exact=True).pvalue if only_a + only_b else 1
    assert mcnemar_p_value(only_a, only_b) == pytest.approx(theirs, abs=1e-9)


def test_compare_uses_shared_examples_only() -> None:
    found = compare("a", "b", {"x": True, "y": False}, {"y": False, "z": True})
    assert found is not None and found.n == 1 and found.p_value == 1
    assert found.ci_low < -0.5 and found.ci_high > 0.5 and found.detectable is None
    assert compare("a", "b", {"x": True}, {"y": True}) is None


def test_all_right_on_both_sides_is_not_certainty() -> None:
    found = _compared(np.ones(100), np.ones(100))
    assert found.difference == 0 and found.p_value == 1
    assert found.ci_low == -found.ci_high and 0.03 < found.ci_high < 0.05
    assert found.detectable is not None and 0.05 < found.detectable < 0.12


def test_interval_of_the_difference_is_near_walds_for_many_examples() -> None:
    found = _counts(600, 500, 4000)
    half = 1.959964 * (1100 / 4000 - 0.025**2) ** 0.5 / 4000**0.5
    assert found.difference == 0.025
    assert found.ci_low == pytest.approx(0.025 - half, abs=6e-4)
    assert found.ci_high == pytest.approx(0.025 + half, abs=6e-4)
    assert found.sd == pytest.approx((1100 / 4000 - 0.025**2) ** 0.5)


def test_other_metrics_are_compared_by_permutation() -> None:
    a = np.array([0.5 + 0.01 * (i % 7) for i in range(30)])
    better, level = _compared(a, a - 0.2), _compared(a, np.roll(a, 1))
    assert better.test == level.test == "permutation"
    assert better.p_value < 0.001 and better.only_a == 30
    assert better.ci_low < 0.2 < better.ci_high
    assert level.p_value > 0.3


@pytest.mark.parametrize("n", [2, 6, 11])
def test_sign_flips_are_scipys_when_all_are_tried(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.3, 1, n)
    theirs = permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_p_value([0.3]) == 1
    padded = [*differences, 0.0, 0.0]  # no difference, no sign
    assert sign_flip_p_value(padded) == pytest.approx(min(theirs.pvalue, 1), abs=1e-9)


@pytest.mark.parametrize("values", ["distinct", "thirds"])
def test_sampled_sign_flips_come_near_the_normal_test(values: str) -> None:
    rng = np.random.default_rng(4)
    if values == "distinct":
        differences = rng.normal(0.1, 1, 400)
    else:
        differences = (rng.integers(0, 4, 400) - rng.integers(0, 4, 400)) / 3 + 1 / 30
    z = differences.sum() / np.sqrt((differences**2).sum())
    assert sign_flip_p_value(differences) == pytest.approx(2 * norm.sf(abs(z)), abs=0.02)
    assert sign_flip_p_value(np.full(400, 0.5)) == pytest.approx(1e-4)


def test_equal_means_over_seeds_do_not_differ_by_rounding() -> None:
    x = np.full(20, (0.1 + 0.2 + 0.3) / 3)
    found = _compared(x, np.full(20, (0.3 + 0.2 + 0.1) / 3))
    assert (found.only_a, found.only_b, found.p_value) == (0, 0, 1)


def test_corrections_agree_with_statsmodels() -> None:
    p_values = list(np.random.default_rng(0).random(12) ** 3)
    for ours, name in ((holm_p_values, "holm"), (benjamini_hochberg_p_values, "fdr_bh")):
        assert ours(p_values) == pytest.approx(multipletests(p_values, method=name)[1], abs=1e-9)
        assert ours([]) == []


def test_holm_by_hand() -> None:
    assert holm_p_values([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert benjamini_hochberg_p_values([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])


def test_corrected_comparisons_keep_their_order_and_know_their_family() -> None:
    table = [_counts(30, 10, 400, "x"), _counts(20, 19, 400, "y"), _counts(60, 10, 400, "z")]
    corrected, swept = holm(table), benjamini_hochberg(table)
    assert [c.b for c in corrected] == ["x", "y", "z"]
    assert [c.p_adjusted for c in corrected] == holm_p_values([c.p_value for c in table])
    assert {(c.correction, c.n_claims) for c in corrected} == {("holm", 3)}
    for before, after, wide in zip(table, corrected, swept, strict=True):
        assert before.detectable is not None and after.detectable is not None
        assert after.detectable > before.detectable == wide.detectable
        assert after.p_adjusted is not None and wide.p_adjusted is not None
        assert after.p_adjusted >= wide.p_adjusted >= before.p_value
    assert corrected[0].to_json()["p_adjusted"] == corrected[0].p_adjusted
    assert holm([]) == benjamini_hochberg([]) == []


def test_comparing_ten_thousand_examples_is_quick() -> None:
    rng = np.random.default_rng(0)
    started = time.perf_counter()
    _compared(rng.random(10_000) < 0.7, rng.random(10_000) < 0.7)
    _compared(rng.binomial(3, 0.7, 10_000) / 3, rng.binomial(3, 0.7, 10_000) / 3)
    assert time.perf_counter() - started < 5
