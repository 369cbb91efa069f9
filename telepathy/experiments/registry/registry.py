"""The registry of experiments: what is due, what runs, how it ended."""

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
from telepathy.experiments.registry.liveness import Liveness, place, process_start
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
from telepathy.experiments.registry.store import Store

DEFAULT_PATH = Path("runs/experiment_registry.json")
_MAX_TAIL_LINES, _MAX_LINE = 20, 300
Config = dict[str, Any]


# What an attempt found does not outlive the start of the next one.
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
    """An experiment was started that should not run now; the message says why."""

    exit_code = 1


class Registry:
    """What is known of all experiments. Reading never writes (but for a damaged index).

    A running record whose process or job is gone *reads* as stale at once; the next start, or a
    mark, writes that down.

    Args:
        path: The index file; run folders and their records lie beside it.
    """

    def __init__(self, path: str | Path = DEFAULT_PATH) -> None:
        self.store = Store(path)

    def folder(self, record: Record) -> Path:
        """Folder of a run: its record, log and results."""
        return self.store.folder(record.key)

    def records(self) -> list[Record]:
        """All records as they are now, sorted by key."""
        return self.current(self.store.records())

    def current(self, records: Iterable[Record]) -> list[Record]:
        """Records as they are now: of those that say running, some are gone."""
        liveness = Liveness()
        return [self._now(record, liveness) for record in records]

    def find(self, name: str, config: Config | None = None) -> Record:
        """The record of a key, or of a name: with this configuration, else the one that runs, else
        the one that changed last.

        Raises: UnknownNameError: If there is none.
            UsageError: If several of the name run; the message lists their keys.
        """
        records = self.store.records()
        key = name if config is None else key_of(name, fingerprint_of(config))
        found = [r for r in records if r.key == key] or [
            r for r in records if config is None and r.name == name
        ]
        if not found:
            close = difflib.get_close_matches(name, {r.name for r in records}, cutoff=0.5)
            raise UnknownNameError(
                f"No experiment '{name}'{'' if config is None else ' with this configuration'} "
                f"among {len(records)} in {self.store.path}. "
                + (f"Close: {', '.join(close)}." if close else "`--status` lists them.")
            )
        found = self.current(found)
        running = [r for r in found if r.state == RUNNING]
        if len(running) > 1:
            raise UsageError(
                f"Several configurations of '{name}' run. Give --config, or one of these keys as "
                f"the name: {', '.join(r.key for r in running)}."
            )
        return running[0] if running else max(found, key=lambda r: r.updated_at)

    def should_run(self, name: str, config: Config | None = None) -> Decision:
        """Whether an experiment should be started now."""
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
        """Write an experiment down as pending; one that is known keeps its state and counts.

        Args:
            name: Letters, digits and . _ + = -.
            config: What makes it this experiment; with the name it is the key.
            command: What is run.
            max_failures: Ends in failure before it is given up.
            max_preemptions: The same for preemptions.
            note: Why it is there, for the history of a new one.
        """
        fresh = new_record(name, config)
        if note:
            fresh = moved(fresh, PENDING, note)
        given: dict[str, Any] = {
            "command": list(command),
            "max_failures": max_failures,
            "max_preemptions": max_preemptions,
        }

        def write(old: Record | None) -> Record:
            new = replace(old or fresh, **given)
            return old if old and new == old else new

        return self.store.update(fresh.key, write)

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
        """Claim an experiment for a process. Of several that try at once, one gets it.

        Args:
            name: Letters, digits and . _ + = -.
            config: What makes it this experiment; with the name it is the key.
            command: What is run, for the record.
            gpu: Number of the GPU; default: `$CUDA_VISIBLE_DEVICES`.
            pid: The process that is the run; default: this one.
            force: Start although it is completed or its budget is used up.
            budgets: `max_failures`, `max_preemptions`.
        Returns: The record; its `attempts` is the number of this start.
        Raises: NotDueError: If it runs already, is completed, or has used up its budget.
        """
        fresh = new_record(name, config)
        here = {**asdict(source_tree()), **place(pid, gpu)}
        if command:
            here["command"] = list(command)

        def claim(old: Record | None) -> Record:
            record = self._now(old or fresh, Liveness())
            decision = decide(record)
            if not decision.run and not (force and record.state != RUNNING):
                how = "" if record.state == RUNNING else " --force starts it all the same."
                raise NotDueError(f"{name} is not started: {decision.reason}.{how}")
            attempts = record.attempts + 1
            return moved(record, RUNNING, **here, **_CLEARED, **budgets, attempts=attempts)

        return self.store.update(fresh.key, claim)

    def heartbeat(self, record: Record, pid: int | None = None) -> None:
        """Say that a run is there: a small file in its folder, the index is not touched.

        Args:
            record: The run.
            pid: The process that is the run, if it is another than the one that started it.
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
        """Write down that a run is done, with what it found."""
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
        """Write down that a run failed, with the class of its error (`failure.classify`)."""
        tail = _short(log_tail)
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
        """Write down that a run was asked to stop; it goes on where it was at the next start."""
        return self._end(
            record,
            PREEMPTED,
            note=error,
            error=error,
            error_class=failure.PREEMPTED,
            exit_code=exit_code,
            log_tail=_short(log_tail),
            count="n_preemptions",
        )

    def mark_rerun(self, names: Sequence[str], reason: str = "") -> list[Record]:
        """Have finished or failed experiments run again, with fresh budgets."""

        def mark(key: str, old: Record | None) -> Record:
            if old is None:
                raise UnknownNameError(f"No experiment '{key}'. `--status` lists them.")
            return moved(
                self._now(old, Liveness()),
                NEEDS_RERUN,
                reason,
                rerun_reason=reason or "marked by hand",
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
                    f"{record.name} was started again since attempt {record.attempts}: what that "
                    "attempt reports is not taken for the new one's."
                )
            beat = self._beat(old).get("at", "")
            counted = {count: getattr(old, count) + 1} if count else {}
            beat = max(old.heartbeat_at, beat)
            return moved(old, state, note, heartbeat_at=beat, **counted, **changes)

        return self.store.update(record.key, end)

    def _now(self, record: Record, liveness: Liveness) -> Record:
        """The record as it is now: running and gone is stale, which counts as a preemption."""
        if record.state != RUNNING:
            return record
        record = self.store.newest(record.key, record) or record
        if record.state != RUNNING:
            return record
        beat = self._beat(record)
        heard = replace(record, heartbeat_at=max(record.heartbeat_at, beat.get("at", "")))
        other = {name: beat[name] for name in ("pid", "pid_started") if name in beat}
        if other and not liveness.gone(replace(heard, **other)):
            return heard
        if not (why := liveness.gone(heard)):
            return heard
        return moved(heard, STALE, why, error=why, n_preemptions=record.n_preemptions + 1)

    def _beat(self, record: Record) -> dict[str, Any]:
        try:
            found = json.loads((self.folder(record) / "heartbeat.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return dict(found) if found.get("attempt") == record.attempts else {}


def _short(lines: Sequence[str]) -> list[str]:
    return [line[:_MAX_LINE] for line in lines[-_MAX_TAIL_LINES:]]


def _finite(value: Any) -> Any:
    """The value with NaN and infinities as words: JSON has no numbers for them."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, dict):
        return {str(name): _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
