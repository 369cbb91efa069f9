"""Find the smallest condition that failed runs share and completed runs do not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from latentwire.eval.statistics import LEVEL
from telepathy.experiments.analysis.config_keys import as_number, short_name
from telepathy.reporting.numbers import p_equals

Facts = Mapping[str, Any]
_MAX_EXCEPTIONS = 0.1


@dataclass(frozen=True)
class Clause:
    """A test of one key: `is`, `>=` or `<=` a value."""

    key: str
    relation: str
    value: Any

    def holds(self, facts: Facts) -> bool:
        """Whether the facts of a run satisfy the clause."""
        if self.key not in facts:
            return False
        if self.relation == "is":
            return bool(facts[self.key] == self.value)
        found = as_number(facts[self.key])
        if found is None:
            return False
        return bool(found >= self.value if self.relation == ">=" else found <= self.value)

    def __str__(self) -> str:
        middle = " " if self.relation == "is" else f" {self.relation} "
        return f"{self.key}{middle}{self.value}"


@dataclass(frozen=True)
class Condition:
    """A condition that separates failed runs from completed ones.

    Args:
        clauses: One or two clauses that all hold.
        n_failed: Failed runs; the condition holds for all of them.
        n_succeeded: Completed runs that meet the condition.
        n_other: Completed runs that do not.
        p_value: One-sided p-value of Fisher's exact test.
        n_tried: Number of distinct conditions that were tried to find this one.
    """

    clauses: tuple[Clause, ...]
    n_failed: int
    n_succeeded: int
    n_other: int
    p_value: float
    n_tried: int

    @property
    def p_corrected(self) -> float:
        """P-value corrected for the conditions tried (Bonferroni)."""
        return min(1.0, self.p_value * self.n_tried)

    def __str__(self) -> str:
        return " and ".join(map(str, self.clauses))

    @property
    def sentence(self) -> str:
        """`in 4 of 4 runs with batch_size 16 and max_tokens >= 1024, in 0 of 7 without`."""
        return (
            f"in {self.n_failed} of {self.n_failed + self.n_succeeded} runs with {self}, "
            f"in 0 of {self.n_other} without"
        )

    @property
    def certainty(self) -> str:
        """Test, p-value and correction."""
        text = f"Fisher's exact test, {p_equals(self.p_value)}"
        if self.n_tried > 1:
            text += f"; {p_equals(self.p_corrected)} corrected for {self.n_tried} conditions tried"
        return text if self.p_corrected <= LEVEL else f"{text} (not significant)"


def separating_condition(
    failed: Sequence[Facts], succeeded: Sequence[Facts], relevant: Sequence[str] = ()
) -> Condition | None:
    """Find the condition that best separates failed from completed runs.

    One clause is preferred to two. Keys that can cause the failure are preferred to other keys,
    because some of many keys separate a few runs by chance.

    Args:
        failed: Facts of the failed runs.
        succeeded: Facts of the completed runs.
        relevant: Patterns of keys that can cause the failure, most likely first.
    Returns: The condition, or None if no condition holds for all failed runs and at most one in
        ten completed runs.
    """
    if len(failed) < 2 or not succeeded:
        return None
    ranked = _ranked(failed, relevant)
    likely = [clauses for rank, clauses in ranked if rank < len(relevant)]
    rest = [clauses for rank, clauses in ranked if rank == len(relevant)]
    for candidates, size in ((likely, 1), (likely, 2), (rest, 1), (likely + rest, 2)):
        clauses = [clause for group in candidates for clause in group]
        if found := _best(clauses, failed, succeeded, size):
            return found
    return None


def _ranked(failed: Sequence[Facts], relevant: Sequence[str]) -> list[tuple[int, list[Clause]]]:
    """Rank and clauses of each key that all failed runs have."""
    shared = set.intersection(*(set(facts) for facts in failed))
    found = []
    for key in sorted(shared):
        patterns = (i for i, p in enumerate(relevant) if re.search(p, short_name(key)))
        found.append((next(patterns, len(relevant)), _clauses(key, [f[key] for f in failed])))
    return sorted(found, key=lambda item: item[0])


def _clauses(key: str, values: Sequence[Any]) -> list[Clause]:
    """Clauses on one key that hold for all these values."""
    clauses = [Clause(key, "is", values[0])] if all(v == values[0] for v in values) else []
    if all(as_number(v) is not None for v in values) and short_name(key) != "seed":
        clauses += [Clause(key, ">=", min(values)), Clause(key, "<=", max(values))]
    return clauses


def _best(
    clauses: Sequence[Clause], failed: Sequence[Facts], succeeded: Sequence[Facts], size: int
) -> Condition | None:
    """Return the condition with `size` clauses that the fewest completed runs meet."""
    holding = {c: frozenset(i for i, f in enumerate(succeeded) if c.holds(f)) for c in clauses}
    useful = [c for c in clauses if len(holding[c]) < len(succeeded)]
    tried: dict[frozenset[int], tuple[Clause, ...]] = {}
    for chosen in combinations(useful, size):
        if len({clause.key for clause in chosen}) == size:
            tried.setdefault(frozenset.intersection(*(holding[c] for c in chosen)), chosen)
    if not tried:
        return None
    extent = min(tried, key=len)
    n, other = len(extent), len(succeeded) - len(extent)
    allowed = _MAX_EXCEPTIONS * len(succeeded) if size == 1 and n < len(failed) else 0
    if n > allowed or (p_value := fisher_p_value(len(failed), n, 0, other)) > LEVEL:
        return None
    return Condition(tried[extent], len(failed), n, other, p_value, len(tried))


def fisher_p_value(
    failed_with: int, succeeded_with: int, failed_without: int, succeeded_without: int
) -> float:
    """One-sided p-value of Fisher's exact test that runs with a condition fail more often."""
    from scipy.stats import fisher_exact

    counts = [[failed_with, succeeded_with], [failed_without, succeeded_without]]
    return float(fisher_exact(counts, alternative="greater").pvalue)
