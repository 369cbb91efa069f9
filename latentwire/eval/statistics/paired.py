"""Paired comparison of two methods: difference, interval, test and detectable difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from latentwire.eval.statistics import LEVEL
from latentwire.eval.statistics.intervals import Resamples, paired_intervals
from latentwire.eval.statistics.power import PairedVariation, detectable_difference

_FLIPS = 9_999
_CHUNK = 2_000_000  # signs drawn at once
_TINY = 1e-12


@dataclass(frozen=True)
class Comparison:
    """Comparison of two methods on the same examples.

    Args:
        a: Name of the first method.
        b: Name of the second method.
        difference: Score of a minus score of b on the shared examples.
        ci_low: Lower end of the 95 % interval (paired bootstrap), without correction.
        ci_high: Upper end of the interval.
        only_a: Number of examples on which only a is correct; for other metrics, on which a is
            better.
        only_b: Number of examples on which only b is correct or b is better.
        sd: Standard deviation of the differences over the examples.
        p_value: Two-sided p-value of `test`, without correction.
        n: Number of shared examples.
        test: `mcnemar` (exact) for binary metrics, `permutation` (paired) for other metrics and
            for means over seeds.
        detectable: Smallest true difference that the sample detects with 80 % power at the
            two-sided level 0.05, which Holm divides by the number of claims; None if it is too
            small to detect any.
        p_adjusted: p-value corrected for the other claims; None before the correction.
        correction: Method of the correction: `holm` or `benjamini_hochberg`.
        n_claims: Number of claims in the correction, this one included.
    """

    a: str
    b: str
    difference: float
    ci_low: float
    ci_high: float
    only_a: int
    only_b: int
    sd: float
    p_value: float
    n: int
    test: str
    detectable: float | None
    p_adjusted: float | None = None
    correction: str | None = None
    n_claims: int = 1

    @property
    def variation(self) -> PairedVariation:
        """Variation of the paired differences, for power calculations."""
        differing = (self.only_a + self.only_b) / self.n
        if self.test == "mcnemar":
            return PairedVariation(differing)
        square = self.sd**2 + self.difference**2
        # If no example differs, the size is unknown: assume the largest.
        return PairedVariation(
            square, (square / differing) ** 0.5 if differing else 1.0, exact=False
        )

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as a JSON object."""
        return asdict(self)


def compare(
    a: str, b: str, values_a: Mapping[str, float], values_b: Mapping[str, float]
) -> Comparison | None:
    """Compare two methods on the examples that both answered; None if there are none.

    Args:
        a: Name of the first method.
        b: Name of the second method.
        values_a: Metric of a by id of the example, 0..1; for several seeds the mean over them, so
            that examples are the clusters.
        values_b: Metric of b by id of the example.
    Source: McNemar 1947, Psychometrika 12 (exact binomial form), if all values are 0 or 1; else a
        sign-flip permutation test. Interval: Efron 1987, JASA 82 (BCa on the differences).
    """
    shared = sorted(values_a.keys() & values_b.keys())
    if not shared:
        return None
    x, y = (np.array([float(v[i]) for i in shared]) for v in (values_a, values_b))
    binary = bool(np.isin(np.concatenate([x, y]), (0.0, 1.0)).all())
    # Equal means over seeds may differ by rounding.
    differences = (x - y).round(12)
    only_a, only_b = int((differences > 0).sum()), int((differences < 0).sum())
    drawn = Resamples.draw(differences[:, None])
    low, high = paired_intervals(drawn.values, drawn.means)[0]
    difference = float((x - y).mean())
    found = Comparison(
        a=a,
        b=b,
        difference=difference,
        ci_low=min(float(low), difference),
        ci_high=max(float(high), difference),
        only_a=only_a,
        only_b=only_b,
        sd=float(differences.std()),
        p_value=mcnemar_p_value(only_a, only_b) if binary else sign_flip_p_value(differences),
        n=len(shared),
        test="mcnemar" if binary else "permutation",
        detectable=None,
    )
    return with_detectable(found)


def with_detectable(comparison: Comparison, **changes: Any) -> Comparison:
    """Return the comparison with changed fields and the detectable difference that follows."""
    changed = replace(comparison, **changes)
    alpha = LEVEL / changed.n_claims
    return replace(
        changed, detectable=detectable_difference(changed.n, changed.variation, alpha=alpha)
    )


def mcnemar_p_value(only_a: int, only_b: int) -> float:
    """Return the exact two-sided p-value of discordant examples.

    Args:
        only_a: Number of examples on which only the first method is correct.
        only_b: Number of examples on which only the second method is correct.
    Source: McNemar 1947, Psychometrika 12, in the binomial form; computed by scipy.
    """
    from scipy.stats import binomtest

    differing = only_a + only_b
    return float(binomtest(only_a, differing, 0.5).pvalue) if differing else 1.0


def sign_flip_p_value(
    differences: Sequence[float] | Float[np.ndarray, " n"], draws: int = _FLIPS, seed: int = 0
) -> float:
    """Return the two-sided p-value of a mean paired difference under random signs.

    Args:
        differences: Difference of each example.
        draws: Number of random sign vectors; if there are at most that many in total, all are used.
        seed: Random seed of the signs.
    Source: Fisher 1935, The Design of Experiments, 21; Phipson and Smyth 2010, Stat. Appl. Genet.
        Mol. Biol. 9 (one added to both counts of a random sample).
    """
    given = np.asarray(differences, dtype=float)
    sizes = np.abs(given[given != 0])
    if not len(sizes):
        return 1.0
    reached = abs(float(given.sum())) - _TINY * float(sizes.sum())
    if 2 ** len(sizes) <= draws:
        return float((np.abs(_all_sums(sizes)) >= reached).mean())
    sums = _random_sums(sizes, draws, np.random.default_rng(seed))
    return float((np.abs(sums) >= reached).sum() + 1) / (draws + 1)


def _all_sums(sizes: Float[np.ndarray, " k"]) -> Float[np.ndarray, " signings"]:
    bits = np.arange(2 ** len(sizes))[:, None] >> np.arange(len(sizes))
    return np.asarray((2 * (bits & 1) - 1) @ sizes)


def _random_sums(
    sizes: Float[np.ndarray, " k"], draws: int, rng: np.random.Generator
) -> Float[np.ndarray, " draws"]:
    """Return sums under random signs; among equal sizes the number of plus signs is binomial."""
    kinds, often = np.unique(sizes, return_counts=True)
    if 16 * len(kinds) <= len(sizes):
        plus = rng.binomial(often, 0.5, size=(draws, len(kinds)))
        return np.asarray((2 * plus - often) @ kinds)
    sums = np.empty(draws)
    chunk = max(1, _CHUNK // len(sizes))
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        signs = rng.integers(0, 2, (size, len(sizes)), dtype=np.int8)
        sums[start : start + size] = 2 * (signs @ sizes) - sizes.sum()
    return sums
