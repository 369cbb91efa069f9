"""Corrections for several claims: Holm for one table, Benjamini-Hochberg for a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from latentwire.eval.statistics.paired import Comparison, with_detectable


def holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Correct the claims of a table: the probability of any false one is at most 5 %.

    The detectable differences become those of the first step, at 0.05 / number of claims, which
    hold for every claim.

    Args:
        comparisons: All claims of the family, in any order.
    Returns: The comparisons in the same order, with `p_adjusted`.
    Source: Holm 1979, Scand. J. Stat. 6; computed by statsmodels.
    """
    adjusted = holm_p_values([c.p_value for c in comparisons])
    return [
        with_detectable(c, p_adjusted=p, correction="holm", n_claims=len(adjusted))
        for c, p in zip(comparisons, adjusted, strict=True)
    ]


def benjamini_hochberg(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Correct the findings of a sweep: the expected share of false ones is at most 5 %.

    Args:
        comparisons: All comparisons of the sweep, in any order.
    Returns: The comparisons in the same order, with `p_adjusted`; `detectable` is unchanged.
    Source: Benjamini and Hochberg 1995, JRSS B 57; computed by statsmodels.
    """
    adjusted = benjamini_hochberg_p_values([c.p_value for c in comparisons])
    return [
        replace(c, p_adjusted=p, correction="benjamini_hochberg", n_claims=len(adjusted))
        for c, p in zip(comparisons, adjusted, strict=True)
    ]


def holm_p_values(p_values: Sequence[float]) -> list[float]:
    """Return Holm-adjusted p-values in the given order.

    Source: Holm 1979, Scand. J. Stat. 6; computed by statsmodels.
    """
    return _adjust(p_values, "holm")


def benjamini_hochberg_p_values(p_values: Sequence[float]) -> list[float]:
    """Return Benjamini-Hochberg-adjusted p-values in the given order.

    Source: Benjamini and Hochberg 1995, JRSS B 57; computed by statsmodels.
    """
    return _adjust(p_values, "fdr_bh")


def _adjust(p_values: Sequence[float], method: str) -> list[float]:
    from statsmodels.stats.multitest import multipletests

    if not len(p_values):
        return []
    return [float(p) for p in multipletests(p_values, method=method)[1]]
