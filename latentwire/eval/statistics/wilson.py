"""Intervals that stay honest where next to nothing varies: Wilson's, for shares and differences."""

from __future__ import annotations

import math

from latentwire.eval.statistics import LEVEL


def wilson_interval(successes: float, n: float) -> tuple[float, float]:
    """95 % interval of a share; or of the mean of values in 0..1, for which it is wide enough.

    Args:
        successes: Number of successes, or sum of the values, 0..n; need not be whole.
        n: Number of trials, > 0; an effective sample size need not be whole.
    Returns: Lower and upper end, within 0..1 and around the share.
    Source: Wilson 1927, JASA 22; computed by statsmodels. No values in 0..1 with the mean p scatter
        more than rights and wrongs do, whose variance is p(1 - p).
    """
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(successes, n, alpha=LEVEL, method="wilson")
    share = successes / n
    # Rounding may leave an end a hair on the wrong side of the share.
    return max(min(float(low), share), 0.0), min(max(float(high), share), 1.0)


def difference_interval(gain: float, loss: float, n: int) -> tuple[float, float]:
    """95 % interval of a mean paired difference from the Wilson intervals of its two parts.

    Args:
        gain: Mean over the examples of the positive parts of the differences, 0..1; for right and
            wrong the share of examples on which only the first is right.
        loss: The same of the negative parts.
        n: Number of examples.
    Returns: Lower and upper end, within -1..1 and around `gain - loss`.
    Source: Newcombe 1998, Stat. Med. 17 (square and add); Zou and Donner 2008, Stat. Med. 27.
    """
    gain_low, gain_high = wilson_interval(gain * n, n)
    loss_low, loss_high = wilson_interval(loss * n, n)
    low = gain - loss - math.hypot(gain - gain_low, loss_high - loss)
    high = gain - loss + math.hypot(gain_high - gain, loss - loss_low)
    return max(low, -1.0), min(high, 1.0)
