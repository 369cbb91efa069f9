"""BCa bootstrap of means, for all methods of a table at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from latentwire.eval.statistics.wilson import difference_interval, wilson_interval

DRAWS = 10_000
_CHUNK = 500_000  # resampled examples at a time: 50 rows of 10,000 are the fastest
_FEW = 10
_TINY = 1e-12


@dataclass(frozen=True)
class Resamples:
    """Means of several methods over the same resampled examples.

    All methods share the draws, so the differences of two columns are paired.

    Args:
        values: A metric, by example and method, 0..1, (n, m).
        means: Its means over each resample, (draws, m).
    """

    values: Float[np.ndarray, "n m"]
    means: Float[np.ndarray, "draws m"]

    @classmethod
    def draw(cls, values: Float[np.ndarray, "n m"], draws: int = DRAWS, seed: int = 0) -> Resamples:
        """Resample the examples.

        Args:
            values: A metric, by example and method, 0..1, (n, m).
            draws: Number of resamples.
            seed: Of the draws.
        Raises: ValueError: If there are no examples.
        """
        values = np.asarray(values, dtype=float)
        if not len(values):
            raise ValueError("a bootstrap needs at least one example")
        return cls(values, _resampled_means(values, draws, np.random.default_rng(seed)))

    def intervals(self) -> Float[np.ndarray, "m 2"]:
        """95 % interval of each method's mean.

        Where fewer than ten values differ from the commonest one, a bootstrap cannot see what is
        rare, and the Wilson interval stands in.
        """
        found = bca_intervals(self.values, self.means)
        for j, column in enumerate(self.values.T):
            if _few_vary(column):
                found[j] = wilson_interval(float(column.sum()), len(column))
        return found

    def differences(self, first: int = 0) -> Float[np.ndarray, "others 2"]:
        """95 % intervals of one method's mean minus the mean of each other one, in their order.

        Where fewer than ten differences differ from the commonest one, the interval from two
        Wilson intervals stands in.

        Args:
            first: Column of the method the others are taken from.
        """
        values = self.values[:, [first]] - np.delete(self.values, first, axis=1)
        means = self.means[:, [first]] - np.delete(self.means, first, axis=1)
        return paired_intervals(values, means)


def paired_intervals(
    differences: Float[np.ndarray, "n m"], means: Float[np.ndarray, "draws m"]
) -> Float[np.ndarray, "m 2"]:
    """95 % intervals of mean paired differences, from their values and their resampled means.

    Args:
        differences: By example and pair of methods, -1..1, (n, m).
        means: Means over each resample, (draws, m).
    """
    found = bca_intervals(differences, means)
    for j, column in enumerate(differences.T):
        if _few_vary(column):
            gain, loss = column.clip(min=0).mean(), -column.clip(max=0).mean()
            found[j] = difference_interval(float(gain), float(loss), len(column))
    return found


def bca_intervals(
    values: Float[np.ndarray, "n m"], means: Float[np.ndarray, "draws m"], confidence: float = 0.95
) -> Float[np.ndarray, "m 2"]:
    """Bias-corrected and accelerated bootstrap intervals of means.

    The jackknife, which gives the acceleration, has a closed form for a mean.

    Args:
        values: What was resampled, by example and column, (n, m).
        means: Means over each resample, (draws, m).
        confidence: Share of intervals that shall cover, 0..1.
    Returns: Lower and upper ends, (m, 2); both are the mean where all values are alike.
    Source: Efron 1987, JASA 82; Efron and Tibshirani 1993, An Introduction to the Bootstrap, 14.3.
    """
    from scipy.special import ndtr, ndtri

    centre = values.mean(axis=0)
    deviations = values - centre
    squares = (deviations**2).sum(axis=0)
    varied = np.ptp(values, axis=0) > 0
    cubes = (deviations**3).sum(axis=0)
    acceleration = np.where(varied, cubes, 0.0) / 6 / np.where(varied, squares, 1.0) ** 1.5
    # Sums of equal values in another order differ by a rounding: these are ties.
    shifts = means - centre
    below = ((shifts < -_TINY).mean(axis=0) + (shifts <= _TINY).mean(axis=0)) / 2
    edge = 0.5 / len(means)
    bias = ndtri(below.clip(edge, 1 - edge))
    found = np.empty((values.shape[1], 2))
    for end, z in enumerate(ndtri([(1 - confidence) / 2, (1 + confidence) / 2])):
        shares = ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))
        for j, share in enumerate(shares):
            found[j, end] = np.quantile(means[:, j], share) if varied[j] else centre[j]
    return found


def _resampled_means(
    values: Float[np.ndarray, "n m"], draws: int, rng: np.random.Generator
) -> Float[np.ndarray, "draws m"]:
    """Counts of a resample (draws, n) times values (n, m), in chunks of draws.

    Examples with the same values are drawn as one where that is quicker: how often a row of values
    comes is multinomial, which is the same distribution.
    """
    n = len(values)
    rows, often = np.unique(values, axis=0, return_counts=True)
    if 16 * len(rows) <= n:
        counts = rng.multinomial(n, often / n, size=draws)
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
    """Means over the examples that each row of `index` names.

    Args:
        index: Numbers of the drawn examples, (draws, n).
        values: By example and column, (n, m).
    """
    draws, n = index.shape
    rows = index + np.arange(draws)[:, None] * n
    counts = np.bincount(rows.ravel(), minlength=draws * n).reshape(draws, n)
    return np.asarray(counts.astype(float) @ values / n)


def _few_vary(column: Float[np.ndarray, " n"]) -> bool:
    _, often = np.unique(column, return_counts=True)
    return bool(len(column) - often.max() < _FEW)
