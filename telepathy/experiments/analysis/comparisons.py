"""Paired tests of the main bridge configuration against the other methods of each task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from latentwire.eval.statistics import LEVEL
from telepathy.experiments.analysis.results import PooledResult


@dataclass(frozen=True)
class PairedTest:
    """Comparison of two results of one task on the same examples.

    Args:
        task: Name of the task.
        a: Name of the first result.
        b: Name of the second result.
        difference: Score of a minus score of b.
        ci_low: Lower end of the 95 % interval, not corrected for other tests.
        ci_high: Upper end.
        n: Shared examples.
        p_value: Two-sided p-value, not corrected for other tests.
        test: `mcnemar` (exact), or `permutation` for means over seeds and other metrics.
        keys: Keys of the runs of both.
        n_needed: Examples needed to find a true difference of this size significant with 80 %
            power among all tests; None if there is no difference.
        p_adjusted: P-value after Holm's correction for all tests of the analysis.
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
        """Whether the difference is significant after correction."""
        return self.p_adjusted <= LEVEL

    def to_json(self) -> dict[str, Any]:
        """The test as a JSON object."""
        return {**asdict(self), "keys": list(self.keys)}


def paired_tests(results: Sequence[PooledResult]) -> list[PairedTest]:
    """Test the reference of each task against all other results, with Holm's correction.

    The reference is the bridge with the most seeds; ties go to the bridge evaluated alongside the
    most methods. Without a bridge it is the method with the most seeds. Scores are not considered.
    """
    couples = [
        (reference, other)
        for task in dict.fromkeys(r.task for r in results)
        if (reference := _reference([r for r in results if r.task == task and r.answers]))
        for other in results
        if other.task == task and other is not reference and _shared(reference, other)
    ]
    if not couples:
        return []
    from latentwire.eval.statistics import holm_p_values

    found = [_test(a, b, len(couples)) for a, b in couples]
    adjusted = holm_p_values([values["p_value"] for values in found])
    return [PairedTest(**values, p_adjusted=p) for values, p in zip(found, adjusted)]


def _reference(results: Sequence[PooledResult]) -> PooledResult | None:
    bridges = [r for r in results if r.is_bridge]
    return max(
        bridges or results, key=lambda r: (len(r.seeds), len(r.source.methods)), default=None
    )


def _shared(a: PooledResult, b: PooledResult) -> list[str]:
    return sorted(a.values.keys() & b.values.keys())


def _test(a: PooledResult, b: PooledResult, n_tests: int) -> dict[str, Any]:
    import numpy as np

    from latentwire.eval.statistics import (
        PairedVariation,
        difference_interval,
        examples_needed,
        mcnemar_p_value,
        sign_flip_p_value,
    )

    ids = _shared(a, b)
    x, y = (np.array([result.values[i] for i in ids]) for result in (a, b))
    gaps = (x - y).round(12)
    n, difference = len(gaps), float(gaps.mean())
    gain, loss = float(gaps.clip(min=0).mean()), float((-gaps).clip(min=0).mean())
    low, high = difference_interval(gain, loss, n)
    binary = bool(np.isin(np.concatenate([x, y]), (0.0, 1.0)).all())
    only_a, only_b = int((gaps > 0).sum()), int((gaps < 0).sum())
    needed = None
    if difference:
        differing, square = float((gaps != 0).mean()), float((gaps**2).mean())
        spread = PairedVariation(square, (square / differing) ** 0.5, exact=binary)
        needed = examples_needed(difference, spread, alpha=LEVEL / n_tests)
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
