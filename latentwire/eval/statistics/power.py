"""Power of paired tests: detectable difference of a sample, sample size for a difference."""

from __future__ import annotations

import math
from dataclasses import dataclass

from latentwire.eval.statistics import LEVEL

POWER = 0.8


@dataclass(frozen=True)
class PairedVariation:
    """Variation of paired differences, the input of power calculations.

    Args:
        mean_square: Mean of the squared differences, 0..1; for binary metrics the share of
            discordant examples, on which exactly one of the two methods is correct.
        size: Root mean square of the nonzero differences, > 0; 1 for binary metrics.
        exact: Whether McNemar's exact test is used, which needs slightly more examples.
    """

    mean_square: float
    size: float = 1.0
    exact: bool = True


def examples_needed(
    difference: float, variation: PairedVariation, *, power: float = POWER, alpha: float = LEVEL
) -> int:
    """Return the number of examples needed to detect a true difference.

    Args:
        difference: True mean difference, not 0, -1..1.
        variation: Variation of the differences; it is raised to the minimum that the difference
            implies, a share of |difference| / size of differing examples.
        power: Probability of a significant result, 0.5..1.
        alpha: Two-sided level of the test, 0..1.
    Raises: ValueError: If the difference is 0.
    Source: Connor 1987, Biometrics 43 (McNemar's test), after Miettinen 1968, Biometrics 24; with
        the mean square for the discordant share it holds for a sign-flip test. For the exact test
        with the continuity correction of Edwards 1948, Psychometrika 13, which is conservative
        for fewer than about 80 differing examples.
    """
    if difference == 0:
        raise ValueError("no number of examples detects a difference of 0")
    return math.ceil(_examples(abs(difference), variation, power, alpha) - 1e-9)


def detectable_difference(
    n: int, variation: PairedVariation, *, power: float = POWER, alpha: float = LEVEL
) -> float | None:
    """Return the smallest true difference that n examples detect, 0..1.

    Args:
        n: Number of examples.
        variation: Variation of the differences.
        power: Probability of a significant result, 0.5..1.
        alpha: Two-sided level of the test, 0..1.
    Returns: The difference; None if n is too small to detect even the largest.
    Source: Inverse of `examples_needed`.
    """
    from scipy.optimize import brentq

    if _examples(1.0, variation, power, alpha) > n:
        return None
    return float(
        brentq(lambda d: _examples(d, variation, power, alpha) / n - 1, 1e-9, 1.0, xtol=1e-12)
    )


def _examples(difference: float, variation: PairedVariation, power: float, alpha: float) -> float:
    from scipy.special import ndtri

    z_alpha, z_beta = float(ndtri(1 - alpha / 2)), float(ndtri(power))
    square = max(variation.mean_square, difference * variation.size)
    need = z_alpha * math.sqrt(square) + z_beta * math.sqrt(max(square - difference**2, 0))
    step = 1.0 if variation.exact else 0.0
    root = (need + math.sqrt(need**2 + 4 * difference * step)) / (2 * difference)
    # With k differing examples the smallest p-value of either test is 2 / 2**k.
    return max(root**2, math.ceil(1 - math.log2(alpha)))
