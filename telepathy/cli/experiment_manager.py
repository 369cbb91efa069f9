"""Command line of `scripts/experiment_manager.py`. Starts without torch, pydantic and typer."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from latentwire.core.errors import UsageError
from telepathy.cli.errors import run_guarded
from telepathy.experiments import manager
from telepathy.experiments.registry import DEFAULT_PATH, STATES, Registry
from telepathy.reporting.text import View, print_view


def confirm_fixes(lines: list[str], n: int) -> bool:
    """Show proposed fixes and ask on the terminal; False if stdin is not a terminal."""
    print("\n".join(lines))
    if not sys.stdin.isatty():
        return False
    return input(f"Write {n} pending experiments? [y/N] ").strip().lower() in ("y", "yes")


def analyze(registry: Registry, *, fix: bool, yes: bool, out: Path | None, as_json: bool) -> View:
    """Analyze the experiments, or propose and apply fixes."""
    if fix:
        return manager.apply_fixes(registry, yes=yes, confirm=None if as_json else confirm_fixes)
    return manager.analysis(registry, out)


# Flag -> action.
_ACTIONS: dict[str, Callable[[Registry, argparse.Namespace], View]] = {
    "status": lambda registry, args: manager.status(registry),
    "list": lambda registry, args: manager.listing(registry, args.list),
    "details": lambda registry, args: manager.details(registry, args.details),
    "mark_rerun": lambda registry, args: manager.mark_rerun(registry, args.mark_rerun, args.reason),
    "mark_rerun_all_failed": lambda registry, args: manager.mark_rerun_failed(
        registry, args.error_class
    ),
    "validate": lambda registry, args: manager.validate(registry),
    "rebuild_registry": lambda registry, args: manager.rebuild(registry, args.runs_dir),
    "recent_failures": lambda registry, args: manager.recent_failures(
        registry, args.recent_failures
    ),
    "merge": lambda registry, args: manager.merge(registry, args.merge),
    "analyze": lambda registry, args: analyze(
        registry, fix=args.apply_fixes, yes=args.yes, out=args.out, as_json=args.json
    ),
}


def parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    p = argparse.ArgumentParser(description="Show experiments and mark them for re-runs.")
    p.add_argument(
        "--registry", type=Path, default=DEFAULT_PATH, help="index file (default: %(default)s)"
    )
    p.add_argument("--json", action="store_true", help="print one JSON object")
    action = p.add_mutually_exclusive_group(required=True)
    action.add_argument("--status", action="store_true", help="count experiments by state")
    action.add_argument(
        "--list", metavar="STATE", help=f"list experiments: all, {', '.join(STATES)}"
    )
    action.add_argument("--details", metavar="NAME", help="show the record of one experiment")
    action.add_argument("--mark-rerun", metavar="NAME", help="mark one experiment for a re-run")
    action.add_argument(
        "--mark-rerun-all-failed",
        action="store_true",
        help="mark all failed experiments for a re-run",
    )
    action.add_argument(
        "--validate", action="store_true", help="check index, run records and processes"
    )
    action.add_argument(
        "--rebuild-registry", action="store_true", help="rebuild the index from the run folders"
    )
    action.add_argument(
        "--recent-failures",
        type=int,
        nargs="?",
        const=10,
        metavar="N",
        help="show the last N failures (default: 10)",
    )
    action.add_argument(
        "--merge",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="merge other index files and resolve a git conflict",
    )
    action.add_argument(
        "--analyze",
        action="store_true",
        help="summarize results, failures and suspicious runs, and suggest next runs",
    )
    p.add_argument(
        "--apply-fixes",
        action="store_true",
        help="with --analyze: add changed configurations of failed runs as pending experiments",
    )
    p.add_argument("--yes", action="store_true", help="with --apply-fixes: do not ask")
    p.add_argument("--out", type=Path, help="with --analyze: write a Markdown page to this file")
    p.add_argument("--reason", default="", help="with --mark-rerun: reason for the re-run")
    p.add_argument(
        "--class",
        dest="error_class",
        metavar="CLASS",
        help="with --mark-rerun-all-failed: only this error class, for example oom",
    )
    p.add_argument(
        "--runs-dir",
        type=Path,
        help="with --rebuild-registry: directory with the run folders (default: that of the index)",
    )
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Run the script."""
    gc.disable()  # a short process that reads thousands of records
    run_guarded(lambda: _run(parser().parse_args(argv)))


def _run(args: argparse.Namespace) -> None:
    given = vars(args)
    if args.apply_fixes and not args.analyze:
        raise UsageError("--apply-fixes requires --analyze. Give both.")
    name = next(n for n in _ACTIONS if given[n] is not None and given[n] is not False)
    print_view(_ACTIONS[name](Registry(args.registry), args), args.json)
