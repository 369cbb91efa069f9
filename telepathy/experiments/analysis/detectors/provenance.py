"""Detectors of results that do not belong to their configuration or cannot be reproduced."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from telepathy.experiments.analysis.analyzed_run import AnalyzedRun
from telepathy.experiments.analysis.config_keys import as_number, flatten, short_name
from telepathy.experiments.analysis.detector import Evidence, detector
from telepathy.experiments.analysis.findings import Finding
from telepathy.experiments.registry.record import COMPLETED
from telepathy.reporting.numbers import count

OLDER = "result older than its configuration"
DIRTY, COMMITS = "uncommitted changes", "different commits"


@detector(OLDER)
def older_result(evidence: Evidence) -> Iterator[Finding]:
    """A result comes from another configuration or from before the start of its run."""
    newest = {run.record.name: run for run in evidence.runs if not run.superseded}
    for run in evidence.runs:
        now = newest.get(run.record.name)
        if run.superseded and run.completed and now and now.record.state != COMPLETED:
            yield Finding(
                OLDER,
                f"{run.record.name} is completed with an earlier configuration, but "
                f"{now.record.state} with the current one. The old result is not included here.",
                (run.key, now.key),
            )
    for run in evidence.completed:
        if why := _other_configuration(run) or _before_start(run):
            yield Finding(OLDER, f"{run.record.name}: {why}.", (run.key,))


@detector(DIRTY)
def uncommitted_changes(evidence: Evidence) -> Iterator[Finding]:
    """Results were made with uncommitted source changes."""
    dirty = [run for run in evidence.completed if run.record.dirty]
    if dirty:
        yield Finding(
            DIRTY,
            f"{len(dirty)} of {count(len(evidence.completed), 'completed run')} had uncommitted "
            "source changes and cannot be reproduced from their commit.",
            tuple(run.key for run in dirty),
        )


@detector(COMMITS)
def different_commits(evidence: Evidence) -> Iterator[Finding]:
    """Results of one task were made with different commits."""
    by_task: dict[str, dict[str, list[str]]] = {}
    for result in evidence.results:
        for run in result.runs.values():
            keys = by_task.setdefault(result.task, {}).setdefault(run.record.commit, [])
            keys += [] if run.key in keys else [run.key]
    groups: dict[tuple[str, ...], list[str]] = {}
    for task, commits in by_task.items():
        if len(known := sorted(commits.keys() - {"", "unknown"})) > 1:
            groups.setdefault(tuple(known), []).append(task)
    for known_commits, tasks in groups.items():
        keys_of = {c: sorted({k for t in tasks for k in by_task[t][c]}) for c in known_commits}
        usual = max(known_commits, key=lambda c: len(keys_of[c]))
        listed = ", ".join(f"{c} ({count(len(keys), 'run')})" for c, keys in keys_of.items())
        yield Finding(
            COMMITS,
            f"Results on {', '.join(tasks)} come from {len(known_commits)} commits: {listed}.",
            tuple(key for c in known_commits if c != usual for key in keys_of[c]),
            data={"tasks": tasks, "runs_by_commit": keys_of},
        )


def _other_configuration(run: AnalyzedRun) -> str:
    """Describe an option in a `config.json` of the run that differs from the record; '' if none."""
    wanted = flatten(run.record.config)
    by_name = {short_name(key): key for key in wanted}
    for folder in run.training_folders:
        for section in ("train", "wire"):
            options: dict[str, Any] = run.saved_options(folder).get(section) or {}
            for name, value in options.items():
                key = f"{section}.{name}"
                if section not in run.record.config:
                    key = by_name.get(name, key)
                expected = wanted.get(key)
                if name == "seed" or as_number(value) is None or as_number(expected) is None:
                    continue
                if as_number(value) != as_number(expected):
                    return f"its folder contains a run with {name} {value}, not {key} {expected}"
    return ""


def _before_start(run: AnalyzedRun) -> str:
    """Describe results that were written before the run started; '' if they were not."""
    try:
        start = datetime.fromisoformat(run.record.started_at.replace("Z", "+00:00")).timestamp()
        written = max(file.stat().st_mtime for file in run.result_files)
    except (OSError, ValueError):
        return ""
    early = (start - written) / 60
    return f"its results were written {early:.0f} minutes before it started" if early > 1 else ""
