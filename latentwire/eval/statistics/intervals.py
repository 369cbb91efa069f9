"""Confidence intervals: BCa bootstrap of means, and Wilson's intervals.

`scipy.stats.bootstrap` treats one statistic at a time and computes the jackknife by resampling. For
means the jackknife has a closed form, and all methods of a table can share the resamples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from latentwire.eval.statistics import LEVEL

DRAWS = 10_000
_CHUNK = 500_000  # resampled examples at once; 50 rows of 10,000 were the fastest
_FEW = 10
_TINY = 1e-12


@dataclass(frozen=True)
class Resamples:
    """Means of several methods over the same resampled examples.

    All methods share the resamples, so differences of two columns are paired.

    Args:
        values: Metric by example and method, 0..1, (n, m).
        means: Means over each resample, (draws, m).
    """

    values: Float[np.ndarray, "n m"]
    means: Float[np.ndarray, "draws m"]

    @classmethod
    def draw(cls, values: Float[np.ndarray, "n m"], draws: int = DRAWS, seed: int = 0) -> Resamples:
        """Resample the examples.

        Args:
            values: Metric by example and method, 0..1, (n, m).
            draws: Number of resamples.
            seed: Random seed of the resamples.
        Raises: ValueError: If there are no examples.
        """
        values = np.asarray(values, dtype=float)
        if not len(values):
            raise ValueError("a bootstrap needs at least one example")
        return cls(values, _resampled_means(values, draws, np.random.default_rng(seed)))

    def intervals(self) -> Float[np.ndarray, "m 2"]:
        """Return the 95 % interval of each method's mean.

        If fewer than ten values differ from the most common one, a bootstrap misses rare values,
        and the Wilson interval is used instead.
        """
        found = bca_intervals(self.values, self.means)
        for j, column in enumerate(self.values.T):
            if _few_vary(column):
                found[j] = wilson_interval(float(column.sum()), len(column))
        return found

    def differences(self, first: int = 0) -> Float[np.ndarray, "others 2"]:
        """Return 95 % intervals of one method's mean minus the mean of each other method.

        If fewer than ten differences differ from the most common one, the interval from two Wilson
        intervals is used instead.

        Args:
            first: Column of the method from which the others are subtracted.
        """
        values = self.values[:, [first]] - np.delete(self.values, first, axis=1)
        means = self.means[:, [first]] - np.delete(self.means, first, axis=1)
        return paired_intervals(values, means)


def paired_intervals(
    differences: Float[np.ndarray, "n m"], means: Float[np.ndarray, "draws m"]
) -> Float[np.ndarray, "m 2"]:
    """Return 95 % intervals of mean paired differences.

    Args:
        differences: Differences by example and pair of methods, -1..1, (n, m).
        means: Means over each resample, (draws, m).
    """
    found = bca_intervals(differences, means)
    for j, column in enumerate(differences.T):
        if _few_vary(column):
            gain, loss = column.clip(min=0).mean(), -column.clip(max=0).mean()
            found[j] = difference_interval(float(gain), float(loss), len(column))
    return found


def bca_intervals(
    values: Float[np.ndarray, "n m"],
    means: Float[np.ndarray, "draws m"],
    confidence: float = 1 - LEVEL,
) -> Float[np.ndarray, "m 2"]:
    """Return bias-corrected and accelerated bootstrap intervals of means.

    Args:
        values: Values that were resampled, by example and column, (n, m).
        means: Means over each resample, (draws, m).
        confidence: Coverage of the intervals, 0..1.
    Returns: Lower and upper ends, (m, 2); both are the mean if all values are equal.
    Source: Efron 1987, JASA 82; Efron and Tibshirani 1993, An Introduction to the Bootstrap, 14.3.
    """
    from scipy.special import ndtr, ndtri

    center = values.mean(axis=0)
    deviations = values - center
    squares = (deviations**2).sum(axis=0)
    varied = np.ptp(values, axis=0) > 0
    cubes = (deviations**3).sum(axis=0)
    acceleration = np.where(varied, cubes, 0.0) / 6 / np.where(varied, squares, 1.0) ** 1.5
    # Sums in another order differ by rounding: treat them as ties.
    shifts = means - center
    below = ((shifts < -_TINY).mean(axis=0) + (shifts <= _TINY).mean(axis=0)) / 2
    edge = 0.5 / len(means)
    bias = ndtri(below.clip(edge, 1 - edge))
    found = np.empty((values.shape[1], 2))
    for end, z in enumerate(ndtri([(1 - confidence) / 2, (1 + confidence) / 2])):
        shares = ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))
        for j, share in enumerate(shares):
            found[j, end] = np.quantile(means[:, j], share) if varied[j] else center[j]
    return found


def wilson_interval(successes: float, n: float) -> tuple[float, float]:
    """Return the 95 % interval of a share, which also covers the mean of values in 0..1.

    Args:
        successes: Number of successes, or sum of the values, 0..n; need not be an integer.
        n: Number of trials, > 0; an effective sample size need not be an integer.
    Returns: Lower and upper end, within 0..1 and around the share.
    Source: Wilson 1927, JASA 22; computed by statsmodels. Values in 0..1 with mean p vary at most
        as much as binary ones, whose variance is p(1 - p).
    """
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(successes, n, alpha=LEVEL, method="wilson")
    share = successes / n
    # Rounding may move an end past the share.
    return max(min(float(low), share), 0.0), min(max(float(high), share), 1.0)


def difference_interval(gain: float, loss: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a mean paired difference from two Wilson intervals.

    Args:
        gain: Mean of the positive parts of the differences, 0..1; for binary metrics the share of
            examples on which only the first method is correct.
        loss: Mean of the negative parts of the differences, 0..1.
        n: Number of examples.
    Returns: Lower and upper end, within -1..1 and around `gain - loss`.
    Source: Newcombe 1998, Stat. Med. 17 (square and add); Zou and Donner 2008, Stat. Med. 27.
    """
    gain_low, gain_high = wilson_interval(gain * n, n)
    loss_low, loss_high = wilson_interval(loss * n, n)
    low = gain - loss - math.hypot(gain - gain_low, loss_high - loss)
    high = gain - loss + math.hypot(gain_high - gain, loss - loss_low)
    return max(low, -1.0), min(high, 1.0)


def _resampled_means(
    values: Float[np.ndarray, "n m"], draws: int, rng: np.random.Generator
) -> Float[np.ndarray, "draws m"]:
    """Return means over resamples as counts (draws, n) times values (n, m), in chunks of draws.

    If many examples have equal values, the counts of distinct rows are drawn instead, which is
    faster: they are multinomial, with the same distribution of means.
    """
    n = len(values)
    rows, counts_of_rows = np.unique(values, axis=0, return_counts=True)
    if 16 * len(rows) <= n:
        counts = rng.multinomial(n, counts_of_rows / n, size=draws)
        return np.asarray(counts @ rows / n)
    means = np.empty((draws, values.shape[1]))
    chunk = max(1, _CHUNK // n)
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        index = rng.integers(0, n, (size, n), dtype=np.int32)
        means[start : start + size] = means_at(index, values)
    return means


def means_at(
    index: np.ndarray[tuple[int, int], np.dtype[np.int32]], values: Float[np.ndarray, "n m"]
) -> Float[np.ndarray, "draws m"]:
    """Return the means over the examples in each row of `index`.

    Args:
        index: Indices of the drawn examples, (draws, n).
        values: Values by example and column, (n, m).
    """
    draws, n = index.shape
    rows = index + np.arange(draws)[:, None] * n
    counts = np.bincount(rows.ravel(), minlength=draws * n).reshape(draws, n)
    return np.asarray(counts.astype(float) @ values / n)


def _few_vary(column: Float[np.ndarray, " n"]) -> bool:
    _, counts = np.unique(column, return_counts=True)
    return bool(len(column) - counts.max() < _FEW)
