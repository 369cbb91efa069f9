"""The record of one experiment and the transitions between its states."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import datetime, timezone
from typing import Any

from latentwire.core.errors import DataError, UsageError
from latentwire.core.files import fingerprint as digest

PENDING, RUNNING, COMPLETED, FAILED = "pending", "running", "completed", "failed"
PREEMPTED, STALE, NEEDS_RERUN = "preempted", "stale", "needs-rerun"
STATES = (PENDING, RUNNING, COMPLETED, FAILED, PREEMPTED, STALE, NEEDS_RERUN)

_WAITING = (PENDING, FAILED, PREEMPTED, STALE, NEEDS_RERUN)
_ENDED = (COMPLETED, FAILED, PREEMPTED)
# State -> states from which it can be reached. A run recorded as failed, preempted or stale may
# still report a later end; that report counts until the experiment is started again.
_BEFORE = {
    PENDING: _WAITING,
    RUNNING: (*_WAITING, COMPLETED),
    COMPLETED: (RUNNING, STALE, PREEMPTED, FAILED),
    FAILED: (RUNNING, STALE, PREEMPTED),
    PREEMPTED: (RUNNING, STALE),
    STALE: (RUNNING,),
    NEEDS_RERUN: (COMPLETED, FAILED, PREEMPTED, STALE, NEEDS_RERUN),
}
MAX_FAILURES, MAX_PREEMPTIONS = 2, 20
_MAX_HISTORY = 60
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,119}")


@dataclass(frozen=True, slots=True)
class Record:
    """One experiment: a name with one configuration. Times are UTC, ISO 8601.

    `attempts` counts starts. `revision` counts changes of this record: the copy with the higher
    revision is newer, whatever the clocks of the machines say.
    """

    name: str
    fingerprint: str
    state: str = PENDING
    revision: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    attempts: int = 0
    n_failures: int = 0
    n_preemptions: int = 0
    max_failures: int = MAX_FAILURES
    max_preemptions: int = MAX_PREEMPTIONS
    commit: str = ""
    dirty: bool = False
    host: str = ""
    pid: int | None = None
    pid_started: str = ""
    job_id: str = ""
    array_task: str = ""
    job_restarts: int = 0
    gpu: str = ""
    created_at: str = ""
    started_at: str = ""
    finished_at: str = ""
    heartbeat_at: str = ""
    updated_at: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    result_file: str = ""
    exit_code: int | None = None
    error_class: str = ""
    error: str = ""
    error_evidence: str = ""
    log_tail: list[str] = field(default_factory=list)
    rerun_reason: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Key of the record in the index and name of its run folder."""
        return key_of(self.name, self.fingerprint)

    def to_json(self) -> dict[str, Any]:
        """All fields that differ from their defaults."""
        found = {name: getattr(self, name) for name in _FIELDS}
        return {name: value for name, value in found.items() if value != _DEFAULTS[name]}

    @classmethod
    def from_json(cls, found: Any) -> Record:
        """Read what `to_json` wrote; unknown fields of newer versions are ignored.

        Raises: DataError: If the object is not a record.
        """
        try:
            if not found.keys() <= _DEFAULTS.keys():
                found = {name: value for name, value in found.items() if name in _DEFAULTS}
            record = cls(**found)
        except (TypeError, AttributeError) as error:
            raise DataError(f"Not an experiment record: {str(found)[:80]} ({error}).") from error
        if record.state not in STATES or not isinstance(record.revision, int):
            raise DataError(f"Not an experiment record: {str(found)[:80]}.")
        return record


_FIELDS = [f.name for f in fields(Record)]
_DEFAULTS = {
    f.name: f.default_factory() if f.default_factory is not MISSING else f.default
    for f in fields(Record)
}


def key_of(name: str, fingerprint: str) -> str:
    """Key of an experiment: its name and a short fingerprint, usable as a folder name."""
    return f"{name}-{fingerprint[:12]}"


def fingerprint_of(config: dict[str, Any]) -> str:
    """Fingerprint of a configuration: 16 hex digits, equal for equal values."""
    return digest("experiment", config)


def new_record(name: str, config: dict[str, Any] | None = None, **given: Any) -> Record:
    """Create a pending record.

    Raises: UsageError: If the name is not usable as a folder name.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' is not a valid experiment name. Use at most 120 letters, digits and "
            ". _ + = -, starting with a letter or digit."
        )
    config = config or {}
    now = utc_now()
    given = {"created_at": now, "updated_at": now, **given}
    return Record(name=name, fingerprint=fingerprint_of(config), config=config, **given)


def moved(record: Record, state: str, note: str = "", **changes: Any) -> Record:
    """Return the record in a new state, with one more line in its history.

    Raises: UsageError: If the new state cannot follow the current one.
    """
    if record.state not in _BEFORE[state]:
        after = [s for s in STATES if record.state in _BEFORE[s]]
        raise UsageError(
            f"{record.name} is {record.state} and cannot become {state}. Allowed next states: "
            f"{', '.join(after)}. `--details {record.name}` shows its history."
        )
    now = max(utc_now(), record.updated_at)
    attempt = changes.get("attempts", record.attempts)
    line = {"state": state, "at": now, "attempt": attempt} | ({"note": note} if note else {})
    if state == RUNNING:
        changes = {"started_at": now, "heartbeat_at": now, "finished_at": "", **changes}
    elif state in _ENDED:
        changes = {"finished_at": now, **changes}
    history = [*record.history, line][-_MAX_HISTORY:]
    return replace(record, state=state, updated_at=now, history=history, **changes)


def utc_now() -> str:
    """Current UTC time as text that sorts by time."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def age_seconds(at: str) -> float:
    """Seconds since a time written by `utc_now`; infinity if `at` is not such a time."""
    try:
        then = datetime.strptime(at, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return float("inf")
    return (datetime.now(timezone.utc) - then).total_seconds()


def superseded_keys(records: Iterable[Record]) -> set[str]:
    """Keys of records whose name has a newer configuration.

    A pending record counts as newer from its creation, so a fix replaces the failed run at once.
    """
    newest: dict[str, Record] = {}
    old = set()
    for record in records:
        other = newest.get(record.name)
        if other is None:
            newest[record.name] = record
            continue
        first, second = sorted((other, record), key=lambda r: max(r.started_at, r.created_at))
        old.add(first.key)
        newest[record.name] = second
    return old
