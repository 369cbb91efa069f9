"""Detectors of scores that differ too much between seeds or between val and test."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import lcm
from statistics import median

from telepathy.experiments.analysis.analyzed_run import SeedAnswers
from telepathy.experiments.analysis.detector import Evidence, detector
from telepathy.experiments.analysis.detectors.predictions import COLLAPSED, IGNORED
from telepathy.experiments.analysis.findings import Finding
from telepathy.experiments.analysis.results import PooledResult
from telepathy.reporting.numbers import p_equals, percent, points

SEED, GAP = "one seed far from the others", "val and test far apart"
_MIN_EXAMPLES, _MIN_SEEDS = 20, 3
_MIN_DIFFERENCE, _MIN_STANDARD_ERRORS = 0.05, 4.0
_GAP_LEVEL = 0.01  # for all tested trainings together


@detector(SEED, unless=(COLLAPSED, IGNORED))
def odd_seed(evidence: Evidence) -> Iterator[Finding]:
    """One seed differs from the others by more than their spread and the sampling error.

    The distance is measured from the median of the other seeds. Its scale is the largest of three
    values: the spread of the other seeds, the usual spread of seeds in this analysis, and the
    paired sampling error.
    """
    results = [r for r in evidence.results if len(r.answers) >= _MIN_SEEDS]
    spreads = [_spread(_means(r)) for r in results]
    usual = median(spreads) if len(spreads) >= _MIN_SEEDS else 0.0
    for result in results:
        means = _means(result)
        middle = median(means.values())
        seed = max(means, key=lambda s: abs(means[s] - middle))
        others = {s: value for s, value in means.items() if s != seed}
        center = median(others.values())
        difference = means[seed] - center
        nearest = min(others, key=lambda s: abs(others[s] - center))
        error = _paired_error(result.answers[seed], result.answers[nearest])
        scale = max(error, usual, _spread(others))
        limit = max(_MIN_DIFFERENCE, _MIN_STANDARD_ERRORS * scale)
        if len(result.values) < _MIN_EXAMPLES or abs(difference) < limit:
            continue
        listed = ", ".join(f"{s}: {percent(value)}" for s, value in sorted(means.items()))
        yield Finding(
            SEED,
            f"{result.name} on {result.task}: seed {seed} differs by {points(difference)} from the "
            f"median of the other seeds ({listed}).",
            (result.runs[seed].key,),
            about=(result.task, result.method),
            data={
                "seed": seed,
                "difference": difference,
                "by_seed": means,
                "standard_error": error,
            },
        )


@detector(GAP)
def val_test_gap(evidence: Evidence) -> Iterator[Finding]:
    """Best val and test accuracy differ by more than sampling and selection on val explain."""
    found = []
    n_validations = 0
    for result in evidence.results:
        for seed, answers in result.answers.items() if result.is_bridge else ():
            vals = _val_accuracies(result, seed)
            n_validations += len(vals)
            if vals and len(answers.values) >= _MIN_EXAMPLES:
                found.append((result, seed, max(vals), _min_n_val(vals)))
    for result, seed, val, n_val in found:
        answers = result.answers[seed]
        test, n_test = answers.mean, len(answers.values)
        p_value = min(1.0, two_proportions_p_value(val, n_val, test, n_test) * n_validations)
        if p_value > _GAP_LEVEL or abs(val - test) < _MIN_DIFFERENCE:
            continue
        yield Finding(
            GAP,
            f"{result.name} on {result.task}, seed {seed}: val {percent(val)} (n {n_val}), test "
            f"{percent(test)} (n {n_test}), {p_equals(p_value)} after correction.",
            (result.runs[seed].key,),
            ("The two splits differ, or the training has overfitted val.",),
            (result.task, result.method),
            {"val": val, "n_val": n_val, "test": test, "n_test": n_test, "p_corrected": p_value},
        )


def two_proportions_p_value(p: float, n: int, q: float, m: int) -> float:
    """Two-sided z-test of two independent proportions p of n and q of m.

    The variance is that of the pooled proportion with half a success and half a failure added,
    which keeps it positive when both proportions are 0 or 1.
    """
    from statsmodels.stats.proportion import proportions_ztest

    pooled = (p * n + q * m + 0.5) / (n + m + 1)
    return float(proportions_ztest([p * n, q * m], [n, m], prop_var=pooled)[1])


def _means(result: PooledResult) -> dict[int, float]:
    return {seed: answers.mean for seed, answers in result.answers.items()}


def _spread(means: dict[int, float]) -> float:
    """Standard deviation estimated from the range, which is efficient for a few normal values.

    Source: Tippett 1925, Biometrika 17 (expected range of n values).
    """
    expected = {1: 1.0, 2: 1.13, 3: 1.69, 4: 2.06, 5: 2.33}.get(len(means), 2.53)
    return (max(means.values()) - min(means.values())) / expected


def _paired_error(a: SeedAnswers, b: SeedAnswers) -> float:
    """Standard error of the mean difference of two seeds on shared examples."""
    gaps = [a.values[i] - b.values[i] for i in a.values.keys() & b.values.keys()]
    if not gaps:
        return 1.0
    mean = sum(gaps) / len(gaps)
    square = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    return float((square / len(gaps)) ** 0.5)


def _val_accuracies(result: PooledResult, seed: int) -> list[float]:
    """Val accuracies recorded during the training with one seed; empty for several tasks."""
    run = result.runs[seed]
    folders = [f for f in run.training_folders if f.name == f"seed-{seed}"] or [run.folder]
    rows = [row["val"] for row in run.curve(folders[0]) if isinstance(row.get("val"), dict)]
    if any("." in key for row in rows for key in row):
        return []
    return [float(row["accuracy"]) for row in rows if "accuracy" in row]


def _min_n_val(accuracies: list[float]) -> int:
    """Smallest number of val examples consistent with these accuracies.

    The number itself is not recorded; with the smallest one the test is conservative.
    """
    return lcm(*(Fraction(a).limit_denominator(20_000).denominator for a in accuracies))
