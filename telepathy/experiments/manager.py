"""What `scripts/experiment_manager.py` and `latentwire runs` do: look at experiments, mark them."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from latentwire.core.errors import UnknownNameError, UsageError
from latentwire.core.files import write_text
from telepathy.cli.errors import guarded
from telepathy.experiments.registry import DEFAULT_PATH, Registry
from telepathy.experiments.registry.checks import validate
from telepathy.experiments.registry.failure import ERROR_CLASSES, SHORT_NAMES
from telepathy.experiments.registry.record import FAILED
from telepathy.experiments.registry.store import Gathered
from telepathy.experiments.registry.views import (
    View,
    details,
    failures,
    listing,
    shown,
    status,
    superseded,
)


def mark_rerun(registry: Registry, name: str, reason: str = "") -> View:
    """Have one experiment run again."""
    (record,) = registry.mark_rerun([name], reason)
    return View({"marked": [shown(record)]}, [f"{record.key} is marked for a re-run."])


def mark_rerun_failed(registry: Registry, error_class: str | None = None) -> View:
    """Have all failed experiments run again, or those of one class; not earlier configurations."""
    wanted = SHORT_NAMES.get(error_class or "", error_class)
    if wanted and wanted not in ERROR_CLASSES:
        raise UnknownNameError.of("error class", wanted, (*ERROR_CLASSES, *SHORT_NAMES))
    records = registry.records()
    old = superseded(records)
    keys = [
        r.key
        for r in records
        if r.state == FAILED and r.key not in old and wanted in (None, r.error_class)
    ]
    marked = registry.mark_rerun(keys, f"all failed{f' of {wanted}' if wanted else ''}")
    lines = [f"{len(marked)} experiments are marked for a re-run."]
    return View({"marked": [shown(r) for r in marked]}, lines + [f"  {r.key}" for r in marked])


def rebuild(registry: Registry, runs_dir: Path | None = None) -> View:
    """Make the index anew from itself and the records of all run folders."""
    if runs_dir and not runs_dir.is_dir():
        raise UsageError(f"--runs-dir {runs_dir} is no folder. Give the one with the run folders.")
    return _gathered(registry, registry.store.gather(runs_dir=runs_dir))


def merge(registry: Registry, files: Sequence[Path] = ()) -> View:
    """Take in other registries, and resolve a git conflict in this one: nothing is lost."""
    if missing := [str(file) for file in files if not file.is_file()]:
        raise UsageError(f"No such registry: {', '.join(missing)}. Give index files.")
    view = _gathered(registry, registry.store.gather(files))
    return View(
        view.data, [*view.lines, f"In a git merge, go on with: git add {registry.store.path}"]
    )


def analysis(registry: Registry, out: Path | None = None) -> View:
    """What succeeded, what failed and why, what looks wrong, what to run next."""
    from telepathy.experiments.analysis import analyze
    from telepathy.experiments.analysis.page import as_markdown, as_text, relative_links

    found = analyze(registry)
    if out is None:
        return View(found.to_json(), as_text(found))
    write_text(out, as_markdown(found, relative_links(registry.store.folder, out)))
    return View({**found.to_json(), "page": str(out)}, [f"The page is in {out}."])


def apply_fixes(registry: Registry, *, yes: bool = False, as_json: bool = False) -> View:
    """Show the changed configurations that would mend failures; write them if that is wanted.

    A terminal is asked; elsewhere nothing is written without `yes`.
    """
    from telepathy.experiments.analysis import analyze
    from telepathy.experiments.analysis.fix_application import proposals, shown, write

    proposed = proposals(analyze(registry))
    n = sum(not p.refused for p in proposed)
    lines = shown(proposed) or ["No failure calls for another configuration."]
    wanted = yes
    if n and not yes and not as_json and sys.stdin.isatty():
        print("\n".join(lines))
        wanted = input(f"Write {n} pending experiments? [y/N] ").strip().lower() in ("y", "yes")
        lines = []
    written = write(registry, proposed) if wanted else []
    if n and not wanted:
        lines.append("Nothing was written; --yes writes it.")
    lines += [f"{record.key} is pending." for record in written]
    data = {"fixes": [p.to_json() for p in proposed], "written": [r.key for r in written]}
    return View(data, lines, exit_code=1 if n and not wanted else 0)


def _analyzed(registry: Registry, args: argparse.Namespace) -> View:
    if args.apply_fixes:
        return apply_fixes(registry, yes=args.yes, as_json=args.json)
    return analysis(registry, args.out)


def _gathered(registry: Registry, found: Gathered) -> View:
    data: dict[str, Any] = {
        "registry": str(registry.store.path),
        "n": found.n_records,
        "added": found.added,
        "changed": found.changed,
        "n_unreadable": found.unreadable,
        "set_aside": str(found.set_aside) if found.set_aside else None,
    }
    lines = [
        f"{registry.store.path}: {found.n_records} experiments, {len(found.added)} added, "
        f"{len(found.changed)} newer, {found.unreadable} lines or files unreadable"
    ]
    return View(data, lines)


# Flag -> what it does. One more entry is one more action.
ACTIONS: dict[str, Callable[[Registry, argparse.Namespace], View]] = {
    "status": lambda registry, args: status(registry),
    "list": lambda registry, args: listing(registry, args.list),
    "details": lambda registry, args: details(registry, args.details),
    "mark_rerun": lambda registry, args: mark_rerun(registry, args.mark_rerun, args.reason),
    "mark_rerun_all_failed": lambda registry, args: mark_rerun_failed(registry, args.error_class),
    "validate": lambda registry, args: validate(registry),
    "rebuild_registry": lambda registry, args: rebuild(registry, args.runs_dir),
    "recent_failures": lambda registry, args: failures(registry, args.recent_failures),
    "merge": lambda registry, args: merge(registry, args.merge),
    "analyze": _analyzed,
}


def parser() -> argparse.ArgumentParser:
    """The flags of the script."""
    p = argparse.ArgumentParser(description="Look at the experiments, mark some for a re-run.")
    p.add_argument("--registry", type=Path, default=DEFAULT_PATH, help=f"default: {DEFAULT_PATH}")
    p.add_argument("--json", action="store_true", help="one JSON object on stdout")
    action = p.add_mutually_exclusive_group(required=True)
    action.add_argument("--status", action="store_true", help="how many are in which state")
    action.add_argument("--list", metavar="STATE", help="those in one state, or all")
    action.add_argument("--details", metavar="NAME", help="all that is known of one")
    action.add_argument("--mark-rerun", metavar="NAME", help="have one run again")
    action.add_argument("--mark-rerun-all-failed", action="store_true", help="and all failed ones")
    action.add_argument("--validate", action="store_true", help="index, records and runs agree?")
    action.add_argument("--rebuild-registry", action="store_true", help="from the run folders")
    action.add_argument(
        "--recent-failures", type=int, nargs="?", const=10, metavar="N", help="default: 10"
    )
    action.add_argument(
        "--merge",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="resolve a git conflict, take in files",
    )
    action.add_argument("--analyze", action="store_true", help="what they say, what to run next")
    p.add_argument("--apply-fixes", action="store_true", help="with --analyze: write its fixes")
    p.add_argument("--yes", action="store_true", help="with --apply-fixes: do not ask")
    p.add_argument("--out", type=Path, help="with --analyze: write a Markdown page")
    p.add_argument("--reason", default="", help="with --mark-rerun: why")
    p.add_argument("--class", dest="error_class", help="with --mark-rerun-all-failed: e.g. oom")
    p.add_argument("--runs-dir", type=Path, help="with --rebuild-registry: the run folders")
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point."""
    gc.disable()  # thousands of records are read once, and the process ends
    guarded(lambda: _run(parser().parse_args(argv)))


def show(view: View, as_json: bool) -> None:
    """Print an answer and end with its exit code."""
    print(json.dumps(view.data, indent=2, ensure_ascii=False) if as_json else "\n".join(view.lines))
    if view.exit_code:
        raise SystemExit(view.exit_code)


def _run(args: argparse.Namespace) -> None:
    given = vars(args)
    if args.apply_fixes and not args.analyze:
        raise UsageError("--apply-fixes goes with --analyze: give both.")
    name = next(n for n in ACTIONS if given[n] is not None and given[n] is not False)
    show(ACTIONS[name](Registry(args.registry), args), args.json)
