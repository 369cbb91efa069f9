"""Paired tests: on each task, the bridge's main configuration against everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from telepathy.experiments.analysis.results import Cell
from telepathy.reporting.numbers import LEVEL


@dataclass(frozen=True)
class Pair:
    """Two cells of one task on the same examples.

    Args:
        task: The task.
        a: Name of the first cell.
        b: Name of the second.
        difference: Score of a minus score of b.
        ci_low: Lower end of its 95 % interval, for this pair alone.
        ci_high: Upper end.
        n: Shared examples.
        p_value: Two-sided, for this pair alone.
        test: `mcnemar` (exact), or `permutation` for means over seeds and other metrics.
        keys: Runs of both.
        n_needed: Examples on which a true difference of this size would be found significant
            with 80 % power among as many claims; None for no difference.
        p_adjusted: Corrected by Holm for all pairs of the page.
    """

    task: str
    a: str
    b: str
    difference: float
    ci_low: float
    ci_high: float
    n: int
    p_value: float
    test: str
    keys: tuple[str, ...]
    n_needed: int | None
    p_adjusted: float

    @property
    def significant(self) -> bool:
        """Whether the difference is real at the level 0.05 of the whole page."""
        return self.p_adjusted <= LEVEL

    def to_json(self) -> dict[str, Any]:
        """The pair as a JSON object."""
        return {**asdict(self), "keys": list(self.keys)}


def pairs_of(cells: Sequence[Cell]) -> list[Pair]:
    """All pairs of the page, corrected together.

    The reference of a task is the bridge with most seeds, of equals the one with most methods
    beside it, else the method with most seeds; it was not chosen by its score.
    """
    couples = [
        (reference, other)
        for task in dict.fromkeys(cell.task for cell in cells)
        if (reference := _reference([c for c in cells if c.task == task and c.answers]))
        for other in cells
        if other.task == task and other is not reference and _shared(reference, other)
    ]
    if not couples:
        return []
    from latentwire.eval.statistics import holm_p_values

    found = [_pair(a, b, len(couples)) for a, b in couples]
    adjusted = holm_p_values([values["p_value"] for values in found])
    return [Pair(**values, p_adjusted=p) for values, p in zip(found, adjusted)]


def _reference(cells: Sequence[Cell]) -> Cell | None:
    bridges = [c for c in cells if c.method == "bridge"]
    return max(
        bridges or cells, key=lambda c: (len(c.seeds), len(c.found["methods"])), default=None
    )


def _shared(a: Cell, b: Cell) -> list[str]:
    return sorted(a.values.keys() & b.values.keys())


def _pair(a: Cell, b: Cell, n_claims: int) -> dict[str, Any]:
    import numpy as np

    from latentwire.eval.statistics import (
        Spread,
        examples_needed,
        mcnemar_p_value,
        sign_flip_p_value,
    )
    from latentwire.eval.statistics.wilson import difference_interval

    ids, of_a, of_b = _shared(a, b), a.values, b.values
    x, y = (np.array([values[i] for i in ids]) for values in (of_a, of_b))
    gaps = (x - y).round(12)
    n, difference = len(gaps), float(gaps.mean())
    binary = bool(np.isin(np.concatenate([x, y]), (0.0, 1.0)).all())
    low, high = difference_interval(float(np.maximum(gaps, 0).mean()), _loss(gaps), n)
    differing, square = float((gaps != 0).mean()), float((gaps**2).mean())
    size = (square / differing) ** 0.5 if differing else 1.0
    only_a, only_b = int((gaps > 0).sum()), int((gaps < 0).sum())
    needed = None
    if difference:
        spread = Spread(square, size, exact=binary)
        needed = examples_needed(difference, spread, alpha=LEVEL / n_claims)
    return {
        "task": a.task,
        "a": a.name,
        "b": b.name,
        "difference": difference,
        "ci_low": low,
        "ci_high": high,
        "n": n,
        "p_value": mcnemar_p_value(only_a, only_b) if binary else sign_flip_p_value(gaps),
        "test": "mcnemar" if binary else "permutation",
        "keys": tuple(dict.fromkeys((*a.keys, *b.keys))),
        "n_needed": needed,
    }


def _loss(gaps: Any) -> float:
    return float((-gaps).clip(min=0).mean())
