"""Views of a suite: the plan of a submission, and the outcome of its experiments."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from telepathy.experiments.registry import Registry
from telepathy.experiments.registry.record import COMPLETED, FAILED, STATES, Record
from telepathy.experiments.registry.scheduling import decide, is_due
from telepathy.experiments.suites.earlier_records import records_of
from telepathy.experiments.suites.expansion import Experiment
from telepathy.experiments.suites.loading import Suite
from telepathy.reporting.table import Column, Table
from telepathy.reporting.text import WIDTH, View

NOT_STARTED = "not started"
_NAME = Column("experiment", left=True)
_PLAN = (_NAME, Column("runs", left=True), Column("min"), Column("why", left=True, wraps=True))
_ENDS = (_NAME, Column("state", left=True), Column("min"), Column("outcome", left=True, wraps=True))
_SCORES = (
    *(Column("task", left=True), Column("method", left=True)),
    *(Column("%"), Column("95 % interval"), Column("n"), Column("seeds")),
)


def plan(suite: Suite, experiments: Sequence[Experiment], registry: Registry) -> View:
    """What a submission would run."""
    records = records_of(experiments, registry.records())
    rows: list[Sequence[str]] = []
    found = []
    n_due, minutes = 0, 0.0
    for e in experiments:
        decision = decide(records.get(e.key))
        if decision.run:
            n_due, minutes = n_due + 1, minutes + e.resources.minutes
        answer = "yes" if decision.run else "no"
        rows.append((e.name, answer, f"{e.resources.minutes:.0f}", decision.reason))
        found.append(
            {
                "name": e.name,
                "key": e.key,
                "due": decision.run,
                "why": decision.reason,
                "needs": list(e.needs),
                "memory_gb": e.resources.memory_gb,
                "minutes": e.resources.minutes,
                "config": e.config.resolved(),
                "commands": [shlex.join(e.command)],
            }
        )
    head = (
        f"{suite.spec.name}, scale {suite.scale}: {len(found)} experiments, {n_due} pending, "
        f"about {minutes / 60:.1f} h one after the other"
    )
    data = {"suite": suite.spec.name, "scale": suite.scale, "n_due": n_due, "experiments": found}
    return View(data, [head, *Table(_PLAN, rows=rows).lines(WIDTH)])


def summary(suite: Suite, experiments: Sequence[Experiment], registry: Registry) -> View:
    """State of each experiment, and the scores of those that are completed.

    The view's exit code is 1 if an experiment failed.
    """
    known = records_of(experiments, registry.records())
    records = [known.get(e.key) for e in experiments]
    states = Counter(record.state if record else NOT_STARTED for record in records)
    rows: list[Sequence[str]] = []
    found = []
    for e, record in zip(experiments, records):
        state = record.state if record else NOT_STARTED
        rows.append((e.name, state, _minutes(record), outcome(record) if record else ""))
        found.append({"name": e.name, "key": e.key, "state": state, **_fields(record)})
    scores = list(_scores(experiments, known))
    counted = [f"{states[s]} {s}" for s in (*STATES, NOT_STARTED) if states[s]]
    lines = [
        f"{suite.spec.name}, scale {suite.scale}: {', '.join(counted)}",
        *Table(_ENDS, rows=rows).lines(WIDTH),
    ]
    if scores:
        lines += ["", *Table(_SCORES, rows=scores).lines(WIDTH)]
    data = {
        "suite": suite.spec.name,
        "scale": suite.scale,
        "states": dict(states),
        "n_due": sum(record is None or is_due(record) for record in records),
        "experiments": found,
    }
    return View(data, lines, exit_code=1 if states[FAILED] else 0)


def outcome(record: Record) -> str:
    """Short description of the end of an experiment."""
    if record.state == FAILED:
        return f"failed ({record.error_class}): {record.error}"[:160]
    if record.state != COMPLETED:
        return f"{record.state} {record.error}".strip()
    score = record.metrics.get("bridge")
    if not isinstance(score, dict):
        return "completed"
    return f"bridge {100 * score['value']:.1f} %"


def _scores(
    experiments: Sequence[Experiment], records: Mapping[str, Record]
) -> Iterator[Sequence[str]]:
    """Rows of all methods of an experiment; of one that trains a bridge, the bridge's alone."""
    for e in experiments:
        record = records.get(e.key)
        if record is None or record.state != COMPLETED:
            continue
        for name, score in record.metrics.items():
            if not isinstance(score, dict) or "ci_low" not in score:
                continue
            if e.config.kind == "bridge":
                if name != "bridge":
                    continue
                wire = e.config.wire
                name = f"{wire.bridge}.k{wire.soft_tokens}.s{e.config.train.seed}"
            interval = f"{100 * score['ci_low']:.1f} - {100 * score['ci_high']:.1f}"
            value, n = f"{100 * score['value']:.1f}", f"{score['n']:,}"
            yield e.config.task.name, name, value, interval, n, str(score.get("n_seeds", 1))


def _fields(record: Record | None) -> dict[str, Any]:
    if record is None:
        return {}
    names = ("metrics", "result_file", "error_class", "error", "started_at", "finished_at")
    return {name: value for name in names if (value := getattr(record, name))}


def _minutes(record: Record | None) -> str:
    """Minutes of the last attempt."""
    if record is None or not record.finished_at:
        return ""
    begin, end = (
        datetime.fromisoformat(at.rstrip("Z")) for at in (record.started_at, record.finished_at)
    )
    return f"{(end - begin).total_seconds() / 60:.1f}"
