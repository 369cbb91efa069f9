"""What to run next: what is marked, what a fix would mend, what a grid lacks, what is too small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from telepathy.experiments.analysis.comparisons import Pair
from telepathy.experiments.analysis.findings import Finding
from telepathy.experiments.analysis.results import Cell
from telepathy.experiments.analysis.run import Run
from telepathy.experiments.analysis.settings import pick
from telepathy.experiments.registry.record import NEEDS_RERUN, PENDING, PREEMPTED, STALE
from telepathy.experiments.registry.scheduling import is_due
from telepathy.reporting.numbers import count, p_equals, points

MARKED, GO_ON, FIX, AGAIN = "marked", "goes on", "apply the fix", "mend and mark"
SEEDS, METHODS, MORE = "missing seeds", "missing methods", "more examples"
_FULL = 2 / 3  # of a grid: what most have, the others lack
_AT_STAKE, _TEN_TIMES, _MOST = 0.01, 10, 5


def next_runs(
    runs: Sequence[Run], cells: Sequence[Cell], pairs: Sequence[Pair], failures: Sequence[Finding]
) -> list[Finding]:
    """What to run next, the surest first."""
    current = [run for run in runs if not run.superseded]
    return [
        *_waiting(current),
        *_fixes(failures),
        *_missing_seeds(current, cells),
        *_missing_methods(current, cells),
        *_too_small(pairs),
    ]


def _waiting(runs: Sequence[Run]) -> Iterator[Finding]:
    for state, kind, words in (
        (NEEDS_RERUN, MARKED, "marked for a re-run"),
        (PENDING, MARKED, "pending"),
        (PREEMPTED, GO_ON, "preempted, with some of the budget left"),
        (STALE, GO_ON, "stale, with some of the budget left"),
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
            yield Finding(
                FIX,
                f"{failure.fix.advice} --analyze --apply-fixes writes {n}.",
                changed,
            )
        if left := tuple(key for key in failure.keys if key not in failure.fix.changes):
            yield Finding(AGAIN, failure.fix.advice, left)


def _missing_seeds(runs: Sequence[Run], cells: Sequence[Cell]) -> Iterator[Finding]:
    """Cells that lack seeds which most cells of seeded methods have, and no run that will bring
    them."""
    several = [cell for cell in cells if len(cell.seeds) > 1]
    having = Counter(seed for cell in several for seed in cell.seeds)
    usual = {seed for seed, n in having.items() if n >= _FULL * len(several)}
    seeded = {cell.method for cell in several}
    for cell in cells:
        lacking = sorted(usual - set(cell.seeds) - _coming(runs, cell))
        if cell.method in seeded and lacking and set(cell.seeds) & usual:
            yield Finding(
                SEEDS,
                f"{cell.name} on {cell.task} lacks seed{'' if len(lacking) == 1 else 's'} "
                f"{', '.join(map(str, lacking))}; it has {', '.join(map(str, cell.seeds))}.",
                cell.keys,
                data={"task": cell.task, "method": cell.method, "seeds": lacking},
            )


def _coming(runs: Sequence[Run], cell: Cell) -> set[int]:
    """Seeds for which there is a run of the same task and method that is not done."""
    waiting = (run for run in runs if not run.completed and run.task == cell.task)
    return {
        run.seed for run in waiting if run.seed is not None and _method_of(run) in ("", cell.method)
    }


def _missing_methods(runs: Sequence[Run], cells: Sequence[Cell]) -> Iterator[Finding]:
    """Methods that most tasks have, and one lacks, without a run that will bring it."""
    tasks = sorted({cell.task for cell in cells})
    by_method = {
        method: {c.task for c in cells if c.method == method}
        for method in (c.method for c in cells)
    }
    for task in tasks:
        own = [method for method, having in by_method.items() if task in having]
        usual = {m for m, having in by_method.items() if len(having) >= _FULL * len(tasks)}
        coming = {_method_of(run) for run in runs if not run.completed and run.task == task}
        lacking = sorted(usual - set(own) - coming)
        if lacking and len(tasks) >= 3 and "" not in coming:
            keys = dict.fromkeys(key for c in cells if c.task == task for key in c.keys)
            yield Finding(
                METHODS,
                f"{task} lacks {', '.join(lacking)}, which most other tasks have.",
                tuple(keys),
                data={"task": task, "methods": lacking},
            )


def _method_of(run: Run) -> str:
    return str(pick(run.record.config, "method", "baseline") or "")


def _too_small(pairs: Sequence[Pair]) -> Iterator[Finding]:
    """Differences that matter if they are real, and that a larger sample could show."""
    open_ = [
        pair
        for pair in pairs
        if not pair.significant
        and abs(pair.difference) >= _AT_STAKE
        and pair.n_needed
        and pair.n < pair.n_needed <= _TEN_TIMES * pair.n
    ]
    for pair in sorted(open_, key=lambda pair: (pair.n_needed or 0) / pair.n)[:_MOST]:
        yield Finding(
            MORE,
            f"{pair.task}: {pair.a} minus {pair.b} is {points(pair.difference)} with {pair.n} "
            f"examples ({p_equals(pair.p_adjusted)}); if it is real, {pair.n_needed} would show "
            "it.",
            pair.keys,
            data={"n": pair.n, "n_needed": pair.n_needed, "difference": pair.difference},
        )
