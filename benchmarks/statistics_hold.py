"""Check the coverage, error rates, power and speed of the statistics on simulated tables.

    python benchmarks/statistics_hold.py [--tables 1000]

Each table has six methods on 200 to 2,000 examples (at most 600 for a graded metric, to save time).
Methods share which examples are hard (a normal copula with correlation 0.2 to 0.8), so that their
answers are paired like those of real methods. In half of the tables all methods have the same true
mean; in the others half of the methods differ from the first. There are three kinds of answers:
right or wrong with one seed, right or wrong with three correlated seeds, and a skewed metric with
point masses at 0 and 1, like F1. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections import defaultdict
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from latentwire.core.provenance import describe_environment
from latentwire.eval.statistics import (
    PairedVariation,
    Resamples,
    accuracy,
    compare,
    detectable_difference,
    holm_p_values,
    mcnemar_p_value,
    pooled_accuracy,
    sign_flip_p_value,
)

Array = np.ndarray[Any, Any]
KINDS = ("one seed", "three seeds", "graded")
N_METHODS = 6
COVERAGE = (0.93, 0.97)
FALSE_FAMILIES = 0.055
SECONDS = 20.0


def main() -> None:
    """Simulate tables, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    gc.freeze()  # statsmodels collects garbage in each Holm correction, which would be slow
    started = time.perf_counter()
    hits: dict[str, list[bool]] = defaultdict(list)
    families: dict[str, list[bool]] = defaultdict(list)
    for i in range(given.tables):
        kind = KINDS[i % len(KINDS)]
        _simulate(kind, alike=i // len(KINDS) % 2 == 0, rng=rng, hits=hits, families=families)
    coverage = {name: _share(found, COVERAGE) for name, found in sorted(hits.items())}
    false = [error for found in families.values() for error in found]
    found = {
        "settings": vars(given),
        "coverage_of_95_percent_intervals": coverage,
        "families_with_a_false_claim": {
            "all": _share(false, (0.0, FALSE_FAMILIES)),
            **{name: _share(errors, (0.0, 1.0)) for name, errors in sorted(families.items())},
        },
        "simulation_seconds": round(time.perf_counter() - started, 1),
        "power_at_the_detectable_difference": _power(rng),
        "bootstrap_10000_draws_10000_examples_12_methods": _timing(rng),
        "environment": describe_environment(),
    }
    print(json.dumps(found, indent=2))


def _simulate(
    kind: str,
    *,
    alike: bool,
    rng: np.random.Generator,
    hits: dict[str, list[bool]],
    families: dict[str, list[bool]],
) -> None:
    """Simulate one table; record which intervals contain the truth, and false rejections."""
    answers, truth = _table(kind, alike, rng)
    values = answers.mean(axis=1)  # (methods, n)
    intervals, differences, p_values = (
        _graded(values) if kind == "graded" else _right_or_wrong(answers, values)
    )
    name = {"one seed": "wilson", "three seeds": "clustered", "graded": "bca"}[kind]
    for (low, high), true in zip(intervals, truth):
        hits[name].append(low <= true <= high)
    for (low, high), true in zip(differences, truth[0] - truth[1:]):
        hits["paired difference"].append(low <= true <= high)
        hits[f"paired difference, {kind}"].append(low <= true <= high)
    nulls = truth[1:] == truth[0]
    rejected = np.array(holm_p_values(p_values)) < 0.05
    families[kind].append(bool((rejected & nulls).any()))


def _right_or_wrong(answers: Array, values: Array) -> tuple[Array, Array, list[float]]:
    """Return intervals of methods, intervals of differences with the first, and p-values."""
    one_seed = answers.shape[1] == 1
    scores = [accuracy(list(a[0] == 1)) if one_seed else pooled_accuracy(a) for a in answers]
    columns = [{str(i): value for i, value in enumerate(row)} for row in values.tolist()]
    found = [compare("first", "other", columns[0], column) for column in columns[1:]]
    compared = [comparison for comparison in found if comparison is not None]
    return (
        np.array([(score.ci_low, score.ci_high) for score in scores]),
        np.array([(comparison.ci_low, comparison.ci_high) for comparison in compared]),
        [comparison.p_value for comparison in compared],
    )


def _graded(values: Array) -> tuple[Array, Array, list[float]]:
    """Return the same for a graded metric, from one set of resamples for the table."""
    drawn = Resamples.draw(values.T)
    p_values = [sign_flip_p_value(values[0] - other) for other in values[1:]]
    return drawn.intervals(), drawn.differences(), p_values


def _table(kind: str, alike: bool, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return answers (methods, seeds, n) and the true mean of each method (methods,)."""
    n = int(rng.integers(200, 601 if kind == "graded" else 2001))
    shared, own = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8)
    seeds = 3 if kind == "three seeds" else 1
    truth = np.full(N_METHODS, rng.uniform(0.4, 0.92))
    if not alike:
        truth[N_METHODS // 2 :] += rng.uniform(-0.1, 0.06, N_METHODS - N_METHODS // 2)
    ease = rng.normal(size=(1, 1, n))
    method = rng.normal(size=(N_METHODS, 1, n))
    luck = rng.normal(size=(N_METHODS, seeds, n))
    rest = np.sqrt(own) * method + np.sqrt(1 - own) * luck
    latent = np.sqrt(shared) * ease + np.sqrt(1 - shared) * rest  # standard normal
    threshold = 1 - truth[:, None, None]
    if kind != "graded":
        return (latent > ndtri(threshold)).astype(float), truth
    # 0 below `low`, 1 above `high`, linear between: the mean of a uniform is 1 - (low + high) / 2
    low = (2 * threshold - 1).clip(min=0) + 0.1 * np.minimum(threshold, 1 - threshold)
    high = 2 * threshold - low
    return ((ndtr(latent) - low) / (high - low)).clip(0, 1), truth


def _power(rng: np.random.Generator, tables: int = 4000) -> dict[str, float]:
    """Return how often the exact test finds the difference that is reported as detectable."""
    found = {}
    for n, discordant in ((300, 0.2), (1000, 0.1), (2000, 0.3)):
        true = detectable_difference(n, PairedVariation(discordant))
        if true is None:
            raise RuntimeError(f"No difference is detectable with {n} examples.")
        shares = [(discordant + true) / 2, (discordant - true) / 2, 1 - discordant]
        drawn = rng.multinomial(n, shares, size=tables)
        kinds, often = np.unique(drawn[:, :2], axis=0, return_counts=True)
        rejected = [mcnemar_p_value(int(a), int(b)) < 0.05 for a, b in kinds]
        found[f"n {n}, discordant {discordant}, difference {true:.4f}"] = float(
            np.average(rejected, weights=often)
        )
    return found


def _timing(rng: np.random.Generator) -> dict[str, Any]:
    """Return seconds for the intervals of 12 methods and of their differences with the first."""
    seconds = {}
    graded = rng.random((10_000, 12))
    for name, values in (("graded", graded), ("right or wrong", (graded < 0.7).astype(float))):
        started = time.perf_counter()
        drawn = Resamples.draw(values)
        drawn.intervals()
        drawn.differences()
        seconds[name] = round(time.perf_counter() - started, 2)
    return {"seconds": seconds, "bar": SECONDS, "holds": max(seconds.values()) < SECONDS}


def _share(found: list[bool], bar: tuple[float, float]) -> dict[str, Any]:
    share = float(np.mean(found))
    return {
        "share": round(share, 4),
        "n": len(found),
        "bar": bar,
        "holds": bar[0] <= share <= bar[1],
    }


if __name__ == "__main__":
    main()
