"""Decide whether an experiment should start: pending, marked, or retries left."""

from __future__ import annotations

from dataclasses import dataclass

from telepathy.experiments.registry.record import (
    COMPLETED,
    FAILED,
    NEEDS_RERUN,
    PENDING,
    PREEMPTED,
    RUNNING,
    STALE,
    Record,
)


@dataclass(frozen=True)
class Decision:
    """Whether an experiment should start, and why."""

    run: bool
    reason: str


def decide(record: Record | None) -> Decision:
    """Decide from the current record (see `Registry.records`); None is a new experiment."""
    if record is None:
        return Decision(True, "new experiment")
    failures = f"{record.n_failures} of {record.max_failures} failures"
    preemptions = f"{record.n_preemptions} of {record.max_preemptions} preemptions"
    reason = {
        PENDING: "pending",
        RUNNING: f"running on {record.host or 'another machine'} since {record.started_at[:19]}",
        COMPLETED: f"completed {record.finished_at[:19]}",
        FAILED: f"failed ({record.error_class}), {failures}",
        PREEMPTED: f"preempted, {preemptions}",
        STALE: f"stale: {record.error}, {preemptions}",
        NEEDS_RERUN: f"marked for a re-run: {record.rerun_reason}",
    }[record.state]
    return Decision(is_due(record), reason)


def is_due(record: Record) -> bool:
    """Whether an experiment should start now."""
    if record.state == FAILED:
        return record.n_failures < record.max_failures
    if record.state in (PREEMPTED, STALE):
        return record.n_preemptions < record.max_preemptions
    return record.state in (PENDING, NEEDS_RERUN)
