"""The smallest condition that runs which failed share, and runs which succeeded do not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

from telepathy.experiments.analysis.settings import leaf, number
from telepathy.reporting.numbers import LEVEL, p_equals

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """One key with what it is: `is`, `>=` or `<=` a value."""

    key: str
    relation: str
    value: Any

    def holds(self, facts: Facts) -> bool:
        """Whether it is so of a run."""
        if self.key not in facts:
            return False
        if self.relation == "is":
            return bool(facts[self.key] == self.value)
        found = number(facts[self.key])
        if found is None:
            return False
        return bool(found >= self.value if self.relation == ">=" else found <= self.value)

    def __str__(self) -> str:
        middle = " " if self.relation == "is" else f" {self.relation} "
        return f"{self.key}{middle}{self.value}"


@dataclass(frozen=True)
class Condition:
    """What tells failed runs from those that succeeded.

    Args:
        parts: One or two; all hold.
        n_failed: Runs that failed; the condition holds for all of them.
        n_succeeded: Runs that succeeded though it holds.
        n_other: Runs that succeeded and for which it does not hold.
        p_value: Fisher's exact test, one-sided.
        n_tried: Different conditions of this kind that were tried to find it.
    """

    parts: tuple[Part, ...]
    n_failed: int
    n_succeeded: int
    n_other: int
    p_value: float
    n_tried: int

    @property
    def p_corrected(self) -> float:
        """The p-value times the conditions tried (Bonferroni)."""
        return min(1.0, self.p_value * self.n_tried)

    def __str__(self) -> str:
        return " and ".join(map(str, self.parts))

    @property
    def sentence(self) -> str:
        """`in 4 of 4 runs with batch_size 16 and max_tokens >= 1024, in 0 of 7 without`."""
        return (
            f"in {self.n_failed} of {self.n_failed + self.n_succeeded} runs with {self}, "
            f"in 0 of {self.n_other} without"
        )

    @property
    def certainty(self) -> str:
        """How sure it is."""
        corrected = "" if self.n_tried == 1 else f"; {p_equals(self.p_corrected)} corrected"
        tried = "" if self.n_tried == 1 else f" for the {self.n_tried} conditions tried"
        hint = "" if self.p_corrected <= LEVEL else ": a hint, no proof"
        return f"Fisher's exact {p_equals(self.p_value)}{corrected}{tried}{hint}"


def separating(
    failed: Sequence[Facts], succeeded: Sequence[Facts], relevant: Sequence[str] = ()
) -> Condition | None:
    """The condition that best tells runs that failed from those that succeeded.

    One key is preferred to two, and keys that can bring about such a failure to others: where many
    keys are tried, one of them separates a few runs by chance.

    Args:
        failed: Facts of the runs that failed.
        succeeded: Facts of those that succeeded.
        relevant: Patterns for the last part of a key, the likeliest first.
    Returns: None if none separates: all of the failed and at most one in ten of the succeeded.
    """
    if len(failed) < 2 or not succeeded:
        return None
    ranked = _ranked(failed, relevant)
    likely = [parts for rank, parts in ranked if rank < len(relevant)]
    rest = [parts for rank, parts in ranked if rank == len(relevant)]
    for candidates, size in ((likely, 1), (likely, 2), (rest, 1), (likely + rest, 2)):
        if found := _best([p for parts in candidates for p in parts], failed, succeeded, size):
            return found
    return None


def fisher_p_value(a: int, b: int, c: int, d: int) -> float:
    """One-sided p-value of a table with a failed and b succeeded under a condition, c and d not.

    Source: Fisher 1935, The logic of inductive inference, J. R. Stat. Soc. 98.
    """
    with_it, failed, n = a + b, a + c, a + b + c + d
    ways = sum(
        comb(with_it, k) * comb(n - with_it, failed - k) for k in range(a, min(with_it, failed) + 1)
    )
    return ways / comb(n, failed)


def _ranked(failed: Sequence[Facts], relevant: Sequence[str]) -> list[tuple[int, list[Part]]]:
    """For each key that all failed runs have, its rank and the parts that hold for all of them."""
    shared = set.intersection(*(set(facts) for facts in failed))
    found = []
    for key in sorted(shared):
        patterns = (i for i, p in enumerate(relevant) if re.search(p, leaf(key)))
        found.append((next(patterns, len(relevant)), _parts(key, [f[key] for f in failed])))
    return sorted(found, key=lambda item: item[0])


def _parts(key: str, values: Sequence[Any]) -> list[Part]:
    parts = [Part(key, "is", values[0])] if all(v == values[0] for v in values) else []
    if all(number(v) is not None for v in values) and leaf(key) != "seed":
        parts += [Part(key, ">=", min(values)), Part(key, "<=", max(values))]
    return parts


def _best(
    parts: Sequence[Part], failed: Sequence[Facts], succeeded: Sequence[Facts], size: int
) -> Condition | None:
    """Of the conditions of `size` parts the one with fewest successes; the first among equals."""
    holding = {p: frozenset(i for i, f in enumerate(succeeded) if p.holds(f)) for p in parts}
    useful = [p for p in parts if len(holding[p]) < len(succeeded)]
    tried: dict[frozenset[int], tuple[Part, ...]] = {}
    for chosen in combinations(useful, size):
        if len({part.key for part in chosen}) == size:
            tried.setdefault(frozenset.intersection(*(holding[p] for p in chosen)), chosen)
    if not tried:
        return None
    extent = min(tried, key=len)
    n, other = len(extent), len(succeeded) - len(extent)
    p_value = fisher_p_value(len(failed), n, 0, other)
    allowed = 0.1 * len(succeeded) if size == 1 and n < len(failed) else 0
    if n > allowed or p_value > LEVEL:
        return None
    return Condition(tried[extent], len(failed), n, other, p_value, len(tried))
