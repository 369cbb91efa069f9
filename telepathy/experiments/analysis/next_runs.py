"""Suggest what to run next: pending runs, fixes, missing seeds and methods, larger samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from telepathy.experiments.analysis.analyzed_run import AnalyzedRun
from telepathy.experiments.analysis.comparisons import PairedTest
from telepathy.experiments.analysis.findings import Finding
from telepathy.experiments.analysis.results import PooledResult
from telepathy.experiments.registry.record import NEEDS_RERUN, PENDING, PREEMPTED, STALE
from telepathy.experiments.registry.scheduling import is_due
from telepathy.reporting.numbers import count, p_equals, points

WAITING, RESUME, FIX, REPAIR = "waiting", "resume", "apply the fix", "repair and re-run"
SEEDS, METHODS, MORE = "missing seeds", "missing methods", "more examples"
_USUAL = 2 / 3  # share of a grid from which on the rest counts as missing
_MIN_TASKS = 3
_MIN_DIFFERENCE, _MAX_GROWTH, _MAX_SUGGESTIONS = 0.01, 10, 5


def suggest_next_runs(
    runs: Sequence[AnalyzedRun],
    results: Sequence[PooledResult],
    tests: Sequence[PairedTest],
    failures: Sequence[Finding],
) -> list[Finding]:
    """Suggest what to run next, most certain first."""
    current = [run for run in runs if not run.superseded]
    return [
        *_waiting(current),
        *_fixes(failures),
        *_missing_seeds(current, results),
        *_missing_methods(current, results),
        *_larger_samples(tests),
    ]


def _waiting(runs: Sequence[AnalyzedRun]) -> Iterator[Finding]:
    for state, kind, words in (
        (NEEDS_RERUN, WAITING, "marked for a re-run"),
        (PENDING, WAITING, "pending"),
        (PREEMPTED, RESUME, "preempted and can be resumed"),
        (STALE, RESUME, "stale and can be resumed"),
    ):
        keys = tuple(r.key for r in runs if r.record.state == state and is_due(r.record))
        if keys:
            yield Finding(kind, f"{count(len(keys), 'run')} {words}: submit again.", keys)


def _fixes(failures: Sequence[Finding]) -> Iterator[Finding]:
    for failure in failures:
        if failure.fix is None:
            continue
        if changed := tuple(key for key in failure.keys if key in failure.fix.changes):
            n = count(len(changed), "changed configuration")
            yield Finding(FIX, f"{failure.fix.advice} --apply-fixes adds {n}.", changed)
        if left := tuple(key for key in failure.keys if key not in failure.fix.changes):
            yield Finding(REPAIR, failure.fix.advice, left)


def _missing_seeds(
    runs: Sequence[AnalyzedRun], results: Sequence[PooledResult]
) -> Iterator[Finding]:
    """Seeds that most results have and one lacks, unless a run for them exists."""
    several = [result for result in results if len(result.seeds) > 1]
    frequency = Counter(seed for result in several for seed in result.seeds)
    usual = {seed for seed, n in frequency.items() if n >= _USUAL * len(several)}
    seeded = {result.method for result in several}
    for result in results:
        missing = sorted(usual - set(result.seeds) - _planned_seeds(runs, result))
        if result.method in seeded and missing and set(result.seeds) & usual:
            yield Finding(
                SEEDS,
                f"{result.name} on {result.task} lacks seed{'' if len(missing) == 1 else 's'} "
                f"{', '.join(map(str, missing))}; it has {', '.join(map(str, result.seeds))}.",
                result.keys,
                data={"task": result.task, "method": result.method, "seeds": missing},
            )


def _planned_seeds(runs: Sequence[AnalyzedRun], result: PooledResult) -> set[int]:
    """Seeds of uncompleted runs of the same task and method."""
    planned = (run for run in runs if not run.completed and run.task == result.task)
    return {
        run.seed for run in planned if run.seed is not None and run.method in ("", result.method)
    }


def _missing_methods(
    runs: Sequence[AnalyzedRun], results: Sequence[PooledResult]
) -> Iterator[Finding]:
    """Methods that most tasks have and one lacks, unless a run for them exists."""
    tasks = sorted({result.task for result in results})
    if len(tasks) < _MIN_TASKS:
        return
    tasks_of: dict[str, set[str]] = {}
    for result in results:
        tasks_of.setdefault(result.method, set()).add(result.task)
    usual = {method for method, having in tasks_of.items() if len(having) >= _USUAL * len(tasks)}
    for task in tasks:
        planned = {run.method for run in runs if not run.completed and run.task == task}
        missing = sorted(m for m in usual - planned if task not in tasks_of[m])
        if missing and "" not in planned:
            keys = dict.fromkeys(key for r in results if r.task == task for key in r.keys)
            yield Finding(
                METHODS,
                f"{task} lacks {', '.join(missing)}, which most other tasks have.",
                tuple(keys),
                data={"task": task, "methods": missing},
            )


def _larger_samples(tests: Sequence[PairedTest]) -> Iterator[Finding]:
    """Relevant differences that a larger sample could show to be significant."""
    undecided = [
        test
        for test in tests
        if not test.significant
        and abs(test.difference) >= _MIN_DIFFERENCE
        and test.n_needed
        and test.n < test.n_needed <= _MAX_GROWTH * test.n
    ]
    undecided.sort(key=lambda test: (test.n_needed or 0) / test.n)
    for test in undecided[:_MAX_SUGGESTIONS]:
        yield Finding(
            MORE,
            f"{test.task}: {test.a} minus {test.b} is {points(test.difference)} on {test.n} "
            f"examples ({p_equals(test.p_adjusted)}). A true difference of this size needs "
            f"{test.n_needed} examples.",
            test.keys,
            data={"n": test.n, "n_needed": test.n_needed, "difference": test.difference},
        )
