"""What a sample could show: smallest detectable paired difference, examples needed for one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from latentwire.eval.statistics import LEVEL

POWER = 0.8


@dataclass(frozen=True)
class Spread:
    """How paired differences scatter: all that a power calculation needs to know of two methods.

    Args:
        mean_square: Mean of the squared differences, 0..1; for right and wrong the share of
            discordant examples, on which exactly one of the two is right.
        size: Root mean square of the differences that are not zero, > 0; for right and wrong 1.
        exact: Whether the test will be McNemar's exact one, which needs a little more.
    """

    mean_square: float
    size: float = 1.0
    exact: bool = True


def examples_needed(
    difference: float, spread: Spread, *, power: float = POWER, alpha: float = LEVEL
) -> int:
    """Number of examples on which a true difference would be found significant.

    Args:
        difference: True mean difference, not 0, -1..1.
        spread: How the differences scatter; a difference of d takes at least |d| / size differing
            examples, so the spread is raised to that where it is less.
        power: Wanted probability of a significant result, 0.5..1.
        alpha: Two-sided level of the test, 0..1.
    Raises: ValueError: If the difference is 0.
    Source: Connor 1987, Biometrics 43 (McNemar's test), after Miettinen 1968, Biometrics 24; with
        the mean square for the discordant share it holds for a sign-flip test. For the exact test
        with the continuity correction of Edwards 1948, Psychometrika 13; with fewer than about 80
        differing examples it asks for somewhat more than 80 % power would take, never for less.
    """
    if difference == 0:
        raise ValueError("no number of examples shows a difference of 0")
    return math.ceil(_examples(abs(difference), spread, power, alpha) - 1e-9)


def detectable_difference(
    n: int, spread: Spread, *, power: float = POWER, alpha: float = LEVEL
) -> float | None:
    """Smallest true difference that n examples would show, 0..1.

    Args:
        n: Number of examples.
        spread: How the differences scatter.
        power: Wanted probability of a significant result, 0.5..1.
        alpha: Two-sided level of the test, 0..1.
    Returns: The difference; None if so few examples could not show even the largest.
    Source: Inverse of `examples_needed`.
    """
    from scipy.optimize import brentq

    if _examples(1.0, spread, power, alpha) > n:
        return None
    return float(
        brentq(lambda d: _examples(d, spread, power, alpha) / n - 1, 1e-9, 1.0, xtol=1e-12)
    )


def _examples(difference: float, spread: Spread, power: float, alpha: float) -> float:
    from scipy.special import ndtri

    z_alpha, z_beta = float(ndtri(1 - alpha / 2)), float(ndtri(power))
    square = max(spread.mean_square, difference * spread.size)
    need = z_alpha * math.sqrt(square) + z_beta * math.sqrt(max(square - difference**2, 0))
    step = 1.0 if spread.exact else 0.0
    root = (need + math.sqrt(need**2 + 4 * difference * step)) / (2 * difference)
    # With k differing examples the smallest p-value of either test is 2 / 2**k.
    return max(root**2, math.ceil(1 - math.log2(alpha)))
