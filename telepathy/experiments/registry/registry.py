"""The experiment registry tracks which experiments are pending, running and finished."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from latentwire.core.errors import UnknownNameError, UsageError
from latentwire.core.files import write_text
from latentwire.core.provenance import source_tree
from telepathy.experiments.registry import failure
from telepathy.experiments.registry.liveness import Liveness, current_place, process_start
from telepathy.experiments.registry.record import (
    COMPLETED,
    FAILED,
    MAX_FAILURES,
    MAX_PREEMPTIONS,
    NEEDS_RERUN,
    PENDING,
    PREEMPTED,
    RUNNING,
    STALE,
    Record,
    fingerprint_of,
    key_of,
    moved,
    new_record,
    utc_now,
)
from telepathy.experiments.registry.scheduling import Decision, decide
from telepathy.experiments.registry.store import RegistryStore

DEFAULT_PATH = Path("runs/experiment_registry.json")
_MAX_TAIL_LINES, _MAX_LINE = 20, 300
Config = dict[str, Any]

# Fields that describe one attempt; a new start resets them.
_CLEARED: dict[str, Any] = {
    "metrics": {},
    "result_file": "",
    "exit_code": None,
    "error": "",
    "error_class": "",
    "error_evidence": "",
    "log_tail": [],
    "rerun_reason": "",
}


class NotDueError(UsageError):
    """The experiment should not start now; the message says why."""

    exit_code = 1


class Registry:
    """All experiments and their states. Reading writes nothing, except to rebuild a damaged index.

    A running record whose process or job no longer exists is returned as stale. The next start or
    re-run mark stores that state.

    Args:
        path: Index file; run folders are in the same directory.
    """

    def __init__(self, path: str | Path = DEFAULT_PATH) -> None:
        self.store = RegistryStore(path)

    def folder(self, record: Record) -> Path:
        """Folder of a run, with its record, log and results."""
        return self.store.folder(record.key)

    def records(self) -> list[Record]:
        """All records in their current state, sorted by key."""
        return self.current(self.store.records())

    def current(self, records: Iterable[Record]) -> list[Record]:
        """Update the state of records: running ones whose process is gone become stale."""
        liveness = Liveness()
        return [self._now(record, liveness) for record in records]

    def find(self, name: str, config: Config | None = None) -> Record:
        """Find a record by key, or by name and configuration.

        Without a configuration, return the running record of that name, else the one updated last.

        Raises: UnknownNameError: If there is none.
            UsageError: If several configurations of the name are running.
        """
        records = self.store.records()
        key = name if config is None else key_of(name, fingerprint_of(config))
        found = [r for r in records if r.key == key] or [
            r for r in records if config is None and r.name == name
        ]
        if not found:
            close = difflib.get_close_matches(name, {r.name for r in records}, cutoff=0.5)
            raise UnknownNameError(
                f"Unknown experiment '{name}'{'' if config is None else ' with this config'} in "
                f"{self.store.path} ({len(records)} experiments). "
                + (f"Did you mean: {', '.join(close)}?" if close else "`--list all` lists them.")
            )
        found = self.current(found)
        running = [r for r in found if r.state == RUNNING]
        if len(running) > 1:
            raise UsageError(
                f"Several configurations of '{name}' are running. Add --config, or use a key "
                f"instead of the name: {', '.join(r.key for r in running)}."
            )
        return running[0] if running else max(found, key=lambda r: r.updated_at)

    def should_run(self, name: str, config: Config | None = None) -> Decision:
        """Decide whether an experiment should start now."""
        known = self.store.get(new_record(name, config).key)
        if known is None and self.store.index().has_name(name):
            return Decision(True, "new configuration of a known name")
        return decide(self._now(known, Liveness()) if known else None)

    def add(
        self,
        name: str,
        config: Config | None = None,
        *,
        command: Sequence[str] = (),
        max_failures: int = MAX_FAILURES,
        max_preemptions: int = MAX_PREEMPTIONS,
        note: str = "",
    ) -> Record:
        """Add a pending experiment; a known one keeps its state and counts.

        Args:
            name: Experiment name: letters, digits and . _ + = -.
            config: Configuration; together with the name it determines the key.
            command: Program and arguments.
            max_failures: Failures after which the experiment is not started again.
            max_preemptions: Preemptions after which the experiment is not started again.
            note: Reason, stored in the history of a new experiment.
        """
        fresh = new_record(name, config)
        if note:
            fresh = moved(fresh, PENDING, note)
        given: dict[str, Any] = {
            "command": list(command),
            "max_failures": max_failures,
            "max_preemptions": max_preemptions,
        }

        def added(old: Record | None) -> Record:
            new = replace(old or fresh, **given)
            return old if old and new == old else new

        return self.store.update(fresh.key, added)

    def start(
        self,
        name: str,
        config: Config | None = None,
        *,
        command: Sequence[str] = (),
        gpu: str | None = None,
        pid: int | None = None,
        force: bool = False,
        **budgets: Any,
    ) -> Record:
        """Claim an experiment for a process. If several processes try at once, one succeeds.

        Args:
            name: Experiment name: letters, digits and . _ + = -.
            config: Configuration; together with the name it determines the key.
            command: Program and arguments, for the record.
            gpu: GPU index; default: `$CUDA_VISIBLE_DEVICES`.
            pid: Id of the process that executes the run; default: this process.
            force: Start even if it is completed or has no retries left.
            budgets: `max_failures`, `max_preemptions`.
        Returns: The running record; `attempts` identifies this start.
        Raises: NotDueError: If it is running, completed, or has no retries left.
        """
        fresh = new_record(name, config)
        here = {**asdict(source_tree()), **current_place(pid, gpu)}
        if command:
            here["command"] = list(command)

        def claim(old: Record | None) -> Record:
            record = self._now(old or fresh, Liveness())
            decision = decide(record)
            if not decision.run and not (force and record.state != RUNNING):
                how = "" if record.state == RUNNING else " Use --force to start it anyway."
                raise NotDueError(f"{name} was not started: {decision.reason}.{how}")
            attempts = record.attempts + 1
            return moved(record, RUNNING, **here, **_CLEARED, **budgets, attempts=attempts)

        return self.store.update(fresh.key, claim)

    def heartbeat(self, record: Record, pid: int | None = None) -> None:
        """Write a heartbeat file to the run folder; the index is not touched.

        Args:
            record: Record of the run.
            pid: Id of the process that executes the run, if it is not the one that started it.
        """
        beat: dict[str, Any] = {"at": utc_now(), "attempt": record.attempts}
        if pid is not None:
            beat |= {"pid": pid, "pid_started": process_start(pid)}
        write_text(self.folder(record) / "heartbeat.json", json.dumps(beat) + "\n")

    def complete(
        self,
        record: Record,
        *,
        metrics: dict[str, Any] | None = None,
        result_file: str | Path = "",
    ) -> Record:
        """Record that a run completed, with its metrics."""
        return self._end(
            record,
            COMPLETED,
            metrics=_finite(metrics or {}),
            result_file=str(result_file),
            exit_code=0,
            n_failures=0,
        )

    def fail(
        self,
        record: Record,
        *,
        error: str = "",
        exit_code: int | None = None,
        log_tail: Sequence[str] = (),
        types: Sequence[str] = (),
    ) -> Record:
        """Record that a run failed, with its error class (see `failure.classify`)."""
        tail = _truncated(log_tail)
        kind, evidence = failure.classify(error, exit_code, tail, types)
        return self._end(
            record,
            FAILED,
            note=kind,
            error=(error or failure.cause_line(tail))[:2000],
            error_class=kind,
            error_evidence=evidence,
            exit_code=exit_code,
            log_tail=tail,
            count="n_failures",
        )

    def preempt(
        self,
        record: Record,
        *,
        error: str = "",
        exit_code: int | None = None,
        log_tail: Sequence[str] = (),
    ) -> Record:
        """Record that a run was preempted; the next start resumes it."""
        return self._end(
            record,
            PREEMPTED,
            note=error,
            error=error,
            error_class=failure.PREEMPTED,
            exit_code=exit_code,
            log_tail=_truncated(log_tail),
            count="n_preemptions",
        )

    def mark_rerun(self, names: Sequence[str], reason: str = "") -> list[Record]:
        """Mark experiments for a re-run and reset their failure and preemption counts."""

        def mark(key: str, old: Record | None) -> Record:
            if old is None:
                raise UnknownNameError(f"Unknown experiment '{key}'. `--list all` lists them.")
            return moved(
                self._now(old, Liveness()),
                NEEDS_RERUN,
                reason,
                rerun_reason=reason or "marked manually",
                n_failures=0,
                n_preemptions=0,
            )

        known = {record.key for record in self.store.records()}
        keys = [name if name in known else self.find(name).key for name in dict.fromkeys(names)]
        return self.store.update_all(keys, mark)

    def _end(
        self, record: Record, state: str, *, note: str = "", count: str = "", **changes: Any
    ) -> Record:
        def end(old: Record | None) -> Record:
            if old is None or old.attempts != record.attempts:
                raise UsageError(
                    f"{record.name} has been started again since attempt {record.attempts}, so the "
                    "report of that attempt is ignored."
                )
            beat = self._beat(old).get("at", "")
            counted = {count: getattr(old, count) + 1} if count else {}
            beat = max(old.heartbeat_at, beat)
            return moved(old, state, note, heartbeat_at=beat, **counted, **changes)

        return self.store.update(record.key, end)

    def _now(self, record: Record, liveness: Liveness) -> Record:
        """Return the current record: a run that disappeared is stale and counts as a preemption."""
        if record.state != RUNNING:
            return record
        record = self.store.newest(record.key, record) or record
        if record.state != RUNNING:
            return record
        beat = self._beat(record)
        heard = replace(record, heartbeat_at=max(record.heartbeat_at, beat.get("at", "")))
        other = {name: beat[name] for name in ("pid", "pid_started") if name in beat}
        if other and not liveness.reason_gone(replace(heard, **other)):
            return heard
        if not (why := liveness.reason_gone(heard)):
            return heard
        return moved(heard, STALE, why, error=why, n_preemptions=record.n_preemptions + 1)

    def _beat(self, record: Record) -> dict[str, Any]:
        try:
            found = json.loads((self.folder(record) / "heartbeat.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return dict(found) if found.get("attempt") == record.attempts else {}


def _truncated(lines: Sequence[str]) -> list[str]:
    return [line[:_MAX_LINE] for line in lines[-_MAX_TAIL_LINES:]]


def _finite(value: Any) -> Any:
    """Replace NaN and infinities by strings, because JSON cannot represent them."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, dict):
        return {str(name): _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
