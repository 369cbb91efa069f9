"""The analysis as a whole: what succeeded, what failed, what looks wrong, what to run next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from telepathy.experiments.analysis.causes import failures_of
from telepathy.experiments.analysis.comparisons import Pair, pairs_of
from telepathy.experiments.analysis.detectors import Evidence, suspicions
from telepathy.experiments.analysis.findings import Finding
from telepathy.experiments.analysis.next_runs import next_runs
from telepathy.experiments.analysis.results import Cell, cells_of
from telepathy.experiments.analysis.run import Run
from telepathy.experiments.registry.record import FAILED, STATES, superseded_keys
from telepathy.experiments.registry.registry import Registry


@dataclass(frozen=True)
class Analysis:
    """What the experiments say.

    Args:
        runs: All runs.
        cells: What each method reached on each task, seeds pooled.
        pairs: Paired tests, corrected together.
        failures: What failed, by mechanism.
        suspicions: What looks wrong though it succeeded.
        next_runs: What to run next.
    """

    runs: list[Run]
    cells: list[Cell]
    pairs: list[Pair]
    failures: list[Finding]
    suspicions: list[Finding]
    next_runs: list[Finding]

    @property
    def states(self) -> dict[str, int]:
        """How many current experiments are in which state."""
        states = [run.record.state for run in self.runs if not run.superseded]
        return {state: states.count(state) for state in STATES}

    @property
    def recovered(self) -> list[Run]:
        """Completed runs that failed before: no fault is left."""
        return [
            run
            for run in self.runs
            if run.completed and any(line["state"] == FAILED for line in run.record.history)
        ]

    def to_json(self) -> dict[str, Any]:
        """The analysis as one JSON object."""
        return {
            "n": len(self.runs),
            "n_superseded": sum(run.superseded for run in self.runs),
            "states": self.states,
            "recovered": [run.key for run in self.recovered],
            "succeeded": {
                "scores": [_row(cell) for cell in self.cells],
                "comparisons": [pair.to_json() for pair in self.pairs],
            },
            "failed": [finding.to_json() for finding in self.failures],
            "looks_wrong": [finding.to_json() for finding in self.suspicions],
            "next": [finding.to_json() for finding in self.next_runs],
        }


def analyze(registry: Registry) -> Analysis:
    """Read all records and the files in their run folders, and say what they mean.

    Nothing is written. Runs whose name has been used with another configuration since stand in
    no table and in no test.
    """
    records = registry.records()
    old = superseded_keys(records)
    runs = [Run(record, registry.folder(record), record.key in old) for record in records]
    completed = [run for run in runs if run.completed and not run.superseded]
    cells = cells_of(completed)
    pairs = pairs_of(cells)
    failures = failures_of(runs)
    return Analysis(
        runs=runs,
        cells=cells,
        pairs=pairs,
        failures=failures,
        suspicions=suspicions(Evidence(runs, completed, cells)),
        next_runs=next_runs(runs, cells, pairs, failures),
    )


def _row(cell: Cell) -> dict[str, Any]:
    return {
        "task": cell.task,
        "method": cell.method,
        "setting": cell.setting,
        "label": cell.label,
        "metric": cell.found.get("metric", "accuracy"),
        "chance": cell.chance,
        "score": cell.score,
        "seeds": cell.seeds,
        "runs": list(cell.keys),
    }
