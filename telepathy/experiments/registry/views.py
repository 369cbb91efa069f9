"""The registry as people and programs read it: lines of 80 columns, and one JSON object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from latentwire.core.errors import UnknownNameError
from telepathy.experiments.registry.record import FAILED, RUNNING, STATES, Record, age_seconds
from telepathy.experiments.registry.registry import Registry
from telepathy.experiments.registry.scheduling import is_due

WIDTH = 80


@dataclass(frozen=True)
class View:
    """An answer: for programs, for people, and the exit code of the command that gives it."""

    data: dict[str, Any]
    lines: list[str]
    exit_code: int = 0


def status(registry: Registry) -> View:
    """How many experiments are in which state, what failed of what, and what runs."""
    records = registry.records()
    old = superseded(records)
    current = [r for r in records if r.key not in old]
    states = Counter(r.state for r in current)
    classes = Counter(r.error_class for r in current if r.state == FAILED)
    running = [r for r in current if r.state == RUNNING]
    n_due = sum(is_due(r) for r in current)
    lines = [f"{registry.store.path}: {len(current)} experiments, {n_due} due"]
    if old:
        lines[0] += f", {len(old)} of earlier configurations"
    for state in STATES:
        why = ", ".join(f"{n} {kind}" for kind, n in classes.most_common())
        lines.append(f"  {state:<12}{states[state]:>6}  {why if state == FAILED else ''}".rstrip())
    if running:
        lines += ["", *table(_RUNNING_COLUMNS, (_running_row(r) for r in running))]
    data = {
        "registry": str(registry.store.path),
        "n": len(current),
        "n_due": n_due,
        "n_superseded": len(old),
        "states": {state: states[state] for state in STATES},
        "error_classes": dict(classes),
        "running": [shown(r) for r in running],
    }
    return View(data, lines)


def listing(registry: Registry, state: str) -> View:
    """The experiments in one state, or `all`.

    Raises: UnknownNameError: If there is no such state.
    """
    if state not in (*STATES, "all"):
        raise UnknownNameError.of("state", state, (*STATES, "all"))
    records = registry.records()
    old = superseded(records)
    found = [r for r in records if state in (r.state, "all")]
    rows = ((r.name, r.state, str(r.attempts), _when(r), _what(r, r.key in old)) for r in found)
    lines = table(_LIST_COLUMNS, rows) if found else [f"No experiment is {state}."]
    return View({"state": state, "experiments": [shown(r) for r in found]}, lines)


def details(registry: Registry, name: str) -> View:
    """All that is known of one experiment."""
    record = registry.find(name)
    found = {name: value for name, value in shown(record).items() if value not in (None, "")}
    apart = ("config", "metrics", "history", "log_tail")
    lines = [f"{key:<16}{_text(value)}" for key, value in found.items() if key not in apart]
    for part in ("config", "metrics"):
        inner = found.get(part) or {}
        lines += ["", part, *(f"  {key:<22}{_text(value)}" for key, value in inner.items())]
    lines += ["", "history"]
    for line in record.history:
        lines.append(f"  {line['at'][:19]}  {line['state']:<12}{line.get('note', '')}")
    if record.log_tail:
        lines += ["", f"last lines of {registry.folder(record) / 'log.txt'}"]
        lines += [f"  {line}" for line in record.log_tail]
    return View(shown(record), lines)


def failures(registry: Registry, n: int) -> View:
    """The latest failures, newest first, each with the line that names its cause."""
    failed = [r for r in registry.records() if r.state == FAILED]
    failed.sort(key=lambda r: r.finished_at, reverse=True)
    lines = []
    for r in failed[:n]:
        lines.append(cut(f"{r.finished_at[:16]}  {r.name}  {r.error_class} ({r.error_evidence})"))
        lines.append(cut(f"    {r.error}"))
    data = {"n_failed": len(failed), "failures": [shown(r) for r in failed[:n]]}
    return View(data, lines or ["No experiment is failed."])


def superseded(records: Iterable[Record]) -> set[str]:
    """Keys of the records whose name has been used with another configuration since.

    Written down counts as used: a fix that waits for its start takes the place of what failed.
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


def shown(record: Record) -> dict[str, Any]:
    """A record for programs: its key, its state, and every field that says something."""
    return {"key": record.key, "state": record.state, **record.to_json()}


def table(columns: Sequence[tuple[str, int]], rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows under a title, each column as wide as it says; the last one takes what is left."""
    widths = [width for _, width in columns]
    titles = [title for title, _ in columns]
    return [
        cut("  ".join(cell[:w].ljust(w) for cell, w in zip(row, widths))) for row in (titles, *rows)
    ]


def cut(line: str) -> str:
    """The line, not wider than a terminal."""
    line = line.rstrip()
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


_LIST_COLUMNS = (("experiment", 30), ("state", 11), ("try", 3), ("when (UTC)", 11), ("", 17))
_RUNNING_COLUMNS = (("running", 34), ("on", 20), ("for", 8), ("last heard of", 12))


def _running_row(record: Record) -> tuple[str, ...]:
    gpu = f" gpu {record.gpu}" if record.gpu else ""
    since, heard = _duration(record.started_at), _duration(record.heartbeat_at)
    return record.name, f"{record.host[:13]}{gpu}", since, f"{heard} ago"


def _when(record: Record) -> str:
    return (record.finished_at or record.started_at or record.created_at)[5:16].replace("T", " ")


def _what(record: Record, old: bool) -> str:
    words = record.error_class or record.rerun_reason or record.host
    return "old configuration" if old else words


def _duration(at: str) -> str:
    seconds = age_seconds(at)
    if seconds == float("inf"):
        return "?"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{key} {_text(inner)}" for key, inner in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
