"""What the runs give away: trainings that did not learn, results that are not what they seem."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from telepathy.experiments.analysis.detectors import Evidence, detector
from telepathy.experiments.analysis.findings import Finding
from telepathy.experiments.analysis.run import Run
from telepathy.experiments.analysis.settings import flat, leaf, number
from telepathy.experiments.registry.record import COMPLETED
from telepathy.reporting.numbers import count

FLAT, DIVERGED = "training loss did not fall", "training diverged"
OLDER = "result older than its configuration"
DIRTY, COMMITS = "uncommitted changes", "different commits"
_STEPS, _WINDOWS, _NEAR = 40, 10, 0.9


@detector(FLAT)
def loss_did_not_fall(evidence: Evidence) -> Iterator[Finding]:
    """The loss of the last tenth of the steps is no lower than that of the first tenth."""
    for run, folder in _trainings(evidence):
        found = _windows(run, folder)
        if found and found[-1] >= found[0] and min(found) >= _NEAR * found[0]:
            yield Finding(
                FLAT,
                f"{run.record.name}: the loss was {found[0]:.3g} over the first tenth of the steps "
                f"and {found[-1]:.3g} over the last.",
                (run.key,),
                about=(run.task, "bridge"),
                data={"loss": found, "folder": folder.name},
            )


@detector(DIVERGED, unless=(FLAT,))
def loss_diverged(evidence: Evidence) -> Iterator[Finding]:
    """The loss fell and rose again, by much more than it scatters around its trend."""
    for run, folder in _trainings(evidence):
        if not (found := _windows(run, folder)):
            continue
        lowest, last = min(found), found[-1]
        scatter = median(abs(b - (a + c) / 2) for a, b, c in zip(found, found[1:], found[2:]))
        rise = last - lowest
        if last > 1.5 * lowest and rise > 3 * scatter and rise > 0.1 * (found[0] - lowest):
            yield Finding(
                DIVERGED,
                f"{run.record.name}: the loss fell to {lowest:.3g} and ended at {last:.3g}.",
                (run.key,),
                about=(run.task, "bridge"),
                data={"loss": found, "folder": folder.name},
            )


@detector(OLDER)
def older_result(evidence: Evidence) -> Iterator[Finding]:
    """A result that another configuration, or an earlier start, has left."""
    newest = {run.record.name: run for run in evidence.runs if not run.superseded}
    for run in evidence.runs:
        now = newest.get(run.record.name)
        if run.superseded and run.completed and now and now.record.state != COMPLETED:
            yield Finding(
                OLDER,
                f"{run.record.name} is completed with an earlier configuration; with the present "
                f"one it is {now.record.state}. The old result stands in no table here.",
                (run.key, now.key),
            )
    for run in evidence.completed:
        if why := _other_configuration(run) or _before_its_start(run):
            yield Finding(OLDER, f"{run.record.name}: {why}.", (run.key,))


@detector(DIRTY)
def dirty_tree(evidence: Evidence) -> Iterator[Finding]:
    """Results of source files that no commit holds."""
    dirty = [run for run in evidence.completed if run.record.dirty]
    if dirty:
        yield Finding(
            DIRTY,
            f"{count(len(dirty), 'completed run')} of {len(evidence.completed)} had source files "
            "that differ from their commit: nobody can repeat them.",
            tuple(run.key for run in dirty),
        )


@detector(COMMITS)
def different_commits(evidence: Evidence) -> Iterator[Finding]:
    """Results of one task that different states of the source made."""
    by_task: dict[str, dict[str, list[str]]] = {}
    for cell in evidence.cells:
        for run in cell.runs.values():
            keys = by_task.setdefault(cell.task, {}).setdefault(run.record.commit, [])
            keys += [] if run.key in keys else [run.key]
    alike: dict[tuple[str, ...], list[str]] = {}
    for task, commits in by_task.items():
        if len(known := sorted(commits.keys() - {"", "unknown"})) > 1:
            alike.setdefault(tuple(known), []).append(task)
    for found, tasks in alike.items():
        known = list(found)
        keys_of = {c: sorted({k for t in tasks for k in by_task[t][c]}) for c in known}
        usual = max(known, key=lambda c: len(keys_of[c]))
        shown = ", ".join(f"{c} ({count(len(keys_of[c]), 'run')})" for c in known)
        yield Finding(
            COMMITS,
            f"What is compared on {', '.join(tasks)} was made by {len(known)} commits: {shown}.",
            tuple(key for c in known if c != usual for key in keys_of[c]),
            data={"tasks": tasks, "runs_by_commit": keys_of},
        )


def _trainings(evidence: Evidence) -> Iterator[tuple[Run, Path]]:
    for run in evidence.completed:
        for folder in run.folders:
            yield run, folder


def _windows(run: Run, folder: Path) -> list[float]:
    """Median training loss of each tenth of the steps; empty for few steps."""
    rows = (number(row.get("loss")) for row in run.curve(folder))
    losses = [loss for loss in rows if loss is not None]
    n = len(losses)
    if n < _STEPS:
        return []
    edges = [round(i * n / _WINDOWS) for i in range(_WINDOWS + 1)]
    return [median(losses[a:b]) for a, b in pairwise(edges)]


def _other_configuration(run: Run) -> str:
    """Which setting of its folder's config.json is not that of the record; '' if none."""
    asked = {leaf(key): (key, value) for key, value in flat(run.record.config).items()}
    for folder in run.folders:
        for part in ("train", "wire"):
            found: dict[str, Any] = run.settings(folder).get(part) or {}
            for name, value in found.items():
                key, wanted = asked.get(name, ("", None))
                if name == "seed" or number(value) is None or number(wanted) is None:
                    continue
                if number(value) != number(wanted):
                    return f"its folder holds a run with {name} {value}, not {key} {wanted}"
    return ""


def _before_its_start(run: Run) -> str:
    """Whether its results were written before it began; '' if not."""
    try:
        began = datetime.fromisoformat(run.record.started_at.replace("Z", "+00:00")).timestamp()
        written = max(file.stat().st_mtime for file in run.result_files)
    except (OSError, ValueError):
        return ""
    early = (began - written) / 60
    return f"its results were written {early:.0f} minutes before it began" if early > 1 else ""
