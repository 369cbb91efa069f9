"""Actions on the registry, shared by `latentwire runs` and `scripts/experiment_manager.py`.

Each action returns a `View`: JSON data, text, and an exit code. Imports neither torch nor pydantic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from latentwire.core.errors import UnknownNameError, UsageError
from latentwire.core.files import write_text
from telepathy.experiments.registry import STATES, Record, Registry
from telepathy.experiments.registry.checks import find_problems
from telepathy.experiments.registry.failure import ERROR_CLASSES, SHORT_NAMES
from telepathy.experiments.registry.record import FAILED, RUNNING, age_seconds, superseded_keys
from telepathy.experiments.registry.scheduling import is_due
from telepathy.experiments.registry.store import RebuildResult
from telepathy.reporting.table import Column, Table
from telepathy.reporting.text import WIDTH, View, cut

_LIST_COLUMNS = (
    Column("experiment", left=True, wraps=True),
    Column("state", left=True),
    Column("starts"),
    Column("when (UTC)", left=True),
    Column("remark", left=True, wraps=True),
)
_RUNNING_COLUMNS = (
    Column("running", left=True, wraps=True),
    Column("host", left=True, wraps=True),
    Column("GPU", left=True),
    Column("for"),
    Column("last heartbeat"),
)


def status(registry: Registry) -> View:
    """Count experiments by state, failures by class, and list the running experiments."""
    records = registry.records()
    old = superseded_keys(records)
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
        rows = [_running_row(r) for r in running]
        lines += ["", *Table(_RUNNING_COLUMNS, rows=rows).lines(WIDTH)]
    data = {
        "registry": str(registry.store.path),
        "n": len(current),
        "n_due": n_due,
        "n_superseded": len(old),
        "states": {state: states[state] for state in STATES},
        "error_classes": dict(classes),
        "running": [_to_json(r) for r in running],
    }
    return View(data, lines)


def listing(registry: Registry, state: str) -> View:
    """List the experiments in one state, or in `all`.

    Raises: UnknownNameError: If there is no such state.
    """
    if state not in (*STATES, "all"):
        raise UnknownNameError.of("state", state, (*STATES, "all"))
    records = registry.records()
    old = superseded_keys(records)
    found = [r for r in records if state in (r.state, "all")]
    listed = Table(_LIST_COLUMNS)
    for r in found:
        listed.add(r.name, r.state, str(r.attempts), _when(r), _remark(r, r.key in old))
    none = "No experiments." if state == "all" else f"No {state} experiments."
    lines = listed.lines(WIDTH) if found else [none]
    return View({"state": state, "experiments": [_to_json(r) for r in found]}, lines)


def details(registry: Registry, name: str) -> View:
    """Show the record of one experiment."""
    record = registry.find(name)
    found = {name: value for name, value in _to_json(record).items() if value not in (None, "")}
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
    return View(_to_json(record), lines)


def recent_failures(registry: Registry, n: int) -> View:
    """Show the last n failures, newest first, each with the line that names its cause."""
    failed = [r for r in registry.records() if r.state == FAILED]
    failed.sort(key=lambda r: r.finished_at, reverse=True)
    lines = []
    for r in failed[:n]:
        lines.append(cut(f"{r.finished_at[:16]}  {r.name}  {r.error_class} ({r.error_evidence})"))
        lines.append(cut(f"    {r.error}"))
    data = {"n_failed": len(failed), "failures": [_to_json(r) for r in failed[:n]]}
    return View(data, lines or ["No failed experiments."])


def mark_rerun(registry: Registry, name: str, reason: str = "") -> View:
    """Mark one experiment for a re-run."""
    (record,) = registry.mark_rerun([name], reason)
    return View({"marked": [_to_json(record)]}, [f"{record.key} is marked for a re-run."])


def mark_rerun_failed(registry: Registry, error_class: str | None = None) -> View:
    """Mark all failed experiments, or those of one error class; earlier configurations excepted.

    Raises: UnknownNameError: If there is no such error class.
    """
    wanted = SHORT_NAMES.get(error_class or "", error_class)
    if wanted and wanted not in ERROR_CLASSES:
        raise UnknownNameError.of("error class", wanted, (*ERROR_CLASSES, *SHORT_NAMES))
    records = registry.records()
    old = superseded_keys(records)
    keys = [
        r.key
        for r in records
        if r.state == FAILED and r.key not in old and wanted in (None, r.error_class)
    ]
    marked = registry.mark_rerun(keys, f"all failed{f' ({wanted})' if wanted else ''}")
    lines = [f"{len(marked)} experiments are marked for a re-run."]
    return View({"marked": [_to_json(r) for r in marked]}, lines + [f"  {r.key}" for r in marked])


def validate(registry: Registry) -> View:
    """Check that index, run records and running processes agree; exit code 1 if not."""
    n, problems = find_problems(registry)
    lines = [f"{n} experiments, {len(problems)} problems"]
    for p in problems:
        lines += [cut(p.key), cut(f"    {p.problem}: {p.remedy}")]
    data = {"n": n, "problems": [asdict(p) for p in problems]}
    return View(data, lines, exit_code=1 if problems else 0)


def rebuild(registry: Registry, runs_dir: Path | None = None) -> View:
    """Rebuild the index from its readable lines and the records in the run folders.

    Raises: UsageError: If `runs_dir` is not a directory.
    """
    if runs_dir and not runs_dir.is_dir():
        raise UsageError(f"--runs-dir {runs_dir} is not a directory. Give the parent of the runs.")
    return _rebuilt(registry, registry.store.rebuild(runs_dir=runs_dir))


def merge(registry: Registry, files: Sequence[Path] = ()) -> View:
    """Merge other index files into this one and resolve a git conflict in it.

    Raises: UsageError: If one of the files does not exist.
    """
    if missing := [str(file) for file in files if not file.is_file()]:
        raise UsageError(f"Registry not found: {', '.join(missing)}. Give index files.")
    view = _rebuilt(registry, registry.store.rebuild(files))
    hint = f"During a git merge, continue with: git add {registry.store.path}"
    return View(view.data, [*view.lines, hint])


def analysis(registry: Registry, out: Path | None = None) -> View:
    """Analyze all experiments; write a Markdown page if `out` is given."""
    from telepathy.experiments.analysis import analyze
    from telepathy.reporting.analysis import as_markdown, as_text, relative_links

    found = analyze(registry)
    if out is None:
        return View(found.to_json(), as_text(found))
    write_text(out, as_markdown(found, relative_links(registry.store.folder, out)))
    return View({**found.to_json(), "page": str(out)}, [f"Wrote {out}."])


def apply_fixes(
    registry: Registry,
    *,
    yes: bool = False,
    confirm: Callable[[list[str], int], bool] | None = None,
) -> View:
    """Propose changed configurations for failed experiments and add them as pending.

    Args:
        registry: The registry.
        yes: Add them without confirmation.
        confirm: Called with the text of the proposals and the number to add; True adds them.
            Without it and without `yes` nothing is added, and the exit code is 1.
    """
    from telepathy.experiments.analysis import analyze
    from telepathy.experiments.analysis.fix_application import add_pending, describe, proposals

    proposed = proposals(analyze(registry))
    n = sum(not p.refused for p in proposed)
    lines = describe(proposed) or ["No failure can be fixed by changing its configuration."]
    wanted = yes
    if n and not yes and confirm:
        wanted = confirm(lines, n)
        lines = []
    added = add_pending(registry, proposed) if wanted else []
    if n and not wanted:
        lines.append("Nothing was written. Use --yes to add the pending experiments.")
    lines += [f"{record.key} is pending." for record in added]
    data = {"fixes": [p.to_json() for p in proposed], "written": [r.key for r in added]}
    return View(data, lines, exit_code=1 if n and not wanted else 0)


def _rebuilt(registry: Registry, result: RebuildResult) -> View:
    data: dict[str, Any] = {
        "registry": str(registry.store.path),
        "n": result.n_records,
        "added": result.added,
        "changed": result.changed,
        "n_unreadable": result.n_unreadable,
        "set_aside": str(result.backup) if result.backup else None,
    }
    lines = [
        f"{registry.store.path}: {result.n_records} experiments, {len(result.added)} added, "
        f"{len(result.changed)} updated, {result.n_unreadable} unreadable lines or files"
    ]
    return View(data, lines)


def _to_json(record: Record) -> dict[str, Any]:
    return {"key": record.key, "state": record.state, **record.to_json()}


def _running_row(record: Record) -> Sequence[str]:
    since, heard = _duration(record.started_at), _duration(record.heartbeat_at)
    return record.name, record.host, record.gpu, since, f"{heard} ago"


def _when(record: Record) -> str:
    return (record.finished_at or record.started_at or record.created_at)[5:16].replace("T", " ")


def _remark(record: Record, old: bool) -> str:
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
