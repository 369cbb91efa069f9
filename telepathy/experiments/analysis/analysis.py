"""Analysis of all experiments: results, failures, suspicious runs, suggestions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from telepathy.experiments.analysis.analyzed_run import AnalyzedRun
from telepathy.experiments.analysis.comparisons import PairedTest, paired_tests
from telepathy.experiments.analysis.detector import Evidence, suspicions
from telepathy.experiments.analysis.failure_groups import failure_findings
from telepathy.experiments.analysis.findings import Finding
from telepathy.experiments.analysis.next_runs import suggest_next_runs
from telepathy.experiments.analysis.results import PooledResult, pool_results
from telepathy.experiments.registry import STATES, Registry
from telepathy.experiments.registry.record import FAILED, superseded_keys


@dataclass(frozen=True)
class Analysis:
    """Analysis of all experiments.

    Args:
        runs: All runs.
        results: Results by task, method and configuration, seeds pooled.
        tests: Paired tests, corrected together.
        failures: Failures by cause.
        suspicions: Completed runs that look wrong.
        next_runs: Suggestions for what to run next.
    """

    runs: list[AnalyzedRun]
    results: list[PooledResult]
    tests: list[PairedTest]
    failures: list[Finding]
    suspicions: list[Finding]
    next_runs: list[Finding]

    @property
    def states(self) -> dict[str, int]:
        """Number of experiments by state, earlier configurations excluded."""
        states = [run.record.state for run in self.runs if not run.superseded]
        return {state: states.count(state) for state in STATES}

    @property
    def recovered(self) -> list[AnalyzedRun]:
        """Completed runs that had failed before."""
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
                "scores": [_row(result) for result in self.results],
                "comparisons": [test.to_json() for test in self.tests],
            },
            "failed": [finding.to_json() for finding in self.failures],
            "looks_wrong": [finding.to_json() for finding in self.suspicions],
            "next": [finding.to_json() for finding in self.next_runs],
        }


def analyze(registry: Registry) -> Analysis:
    """Analyze all records and run folders; writes nothing.

    Runs whose name has a newer configuration are excluded from results and tests.
    """
    records = registry.records()
    old = superseded_keys(records)
    runs = [AnalyzedRun(record, registry.folder(record), record.key in old) for record in records]
    completed = [run for run in runs if run.completed and not run.superseded]
    results = pool_results(completed)
    tests = paired_tests(results)
    failures = failure_findings(runs)
    return Analysis(
        runs=runs,
        results=results,
        tests=tests,
        failures=failures,
        suspicions=suspicions(Evidence(runs, completed, results)),
        next_runs=suggest_next_runs(runs, results, tests, failures),
    )


def _row(result: PooledResult) -> dict[str, Any]:
    return {
        "task": result.task,
        "method": result.method,
        "options": result.options,
        "label": result.label,
        "metric": result.source.content.get("metric", "accuracy"),
        "chance": result.chance,
        "score": result.score,
        "seeds": result.seeds,
        "runs": list(result.keys),
    }
