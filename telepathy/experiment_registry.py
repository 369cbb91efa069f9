"""Experiment registry for shell jobs: `python telepathy/experiment_registry.py`.

`should_run` prints `1|reason` or `0|reason`. `scripts/registry_functions.sh` wraps these commands;
`scripts/experiment_manager.py` shows the registry.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from latentwire.core.errors import UsageError
from telepathy.cli.errors import run_guarded
from telepathy.experiments.registry import DEFAULT_PATH, NotDueError, Record, Registry


def parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument(
        "--registry", type=Path, default=DEFAULT_PATH, help="index file (default: %(default)s)"
    )
    p.add_argument(
        "--merge",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="merge other index files",
    )
    commands = p.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, about: str, *, named: bool = True) -> argparse.ArgumentParser:
        c = commands.add_parser(name, help=about, description=about)
        if named:
            c.add_argument("name", help="name or key of the experiment")
            c.add_argument("--config", help="configuration of the experiment: JSON or a JSON file")
        return c

    def budgets(c: argparse.ArgumentParser) -> None:
        c.add_argument(
            "--max-failures", type=int, help="failures after which it is not started again"
        )
        c.add_argument(
            "--max-preemptions", type=int, help="preemptions after which it is not started again"
        )

    command("should_run", "print 1|reason if the experiment should start, else 0|reason")
    c = command("add", "add a pending experiment")
    budgets(c)
    c = command("start", "claim an experiment for a process")
    c.add_argument("--gpu", help="GPU index (default: $CUDA_VISIBLE_DEVICES)")
    c.add_argument(
        "--pid", type=int, help="id of the process that runs it (default: the calling process)"
    )
    c.add_argument(
        "--force", action="store_true", help="start even if completed or without retries left"
    )
    budgets(c)
    c = command("complete", "record that a run completed")
    c.add_argument("--result-file", default="", help="JSON file with the results")
    c.add_argument("--metrics", default="{}", help="metrics: a JSON object or a JSON file")
    c = command("fail", "record that a run failed")
    c.add_argument("--error", default="", help="error message")
    c.add_argument("--exit-code", type=int, help="exit code of the run")
    c.add_argument("--log", type=Path, help="log file; its last lines are stored in the record")
    c = command("preempt", "record that a run was stopped and can be resumed")
    c.add_argument("--error", default="", help="reason, for example the signal")
    c.add_argument("--exit-code", type=int, help="exit code of the run")
    command("heartbeat", "record that a run is alive")
    c = command("run", "run a command as an experiment: run NAME [flags] -- COMMAND ...")
    c.add_argument("--gpu", help="index of the GPU; the command sees no other")
    c.add_argument("--result-file", help="JSON file with the results, required for success")
    c.add_argument(
        "--force", action="store_true", help="run even if completed or without retries left"
    )
    budgets(c)
    command("summary", "count experiments by state", named=False)
    c = command("merge-driver", "git merge driver: merge-driver %%O %%A %%B", named=False)
    c.add_argument("files", type=Path, nargs=3, metavar="FILE")
    return p


def main() -> None:
    """Run the script."""
    given = sys.argv[1:]
    at = given.index("--") if "--" in given else len(given)
    run_guarded(lambda: sys.exit(run(parser().parse_args(given[:at]), given[at + 1 :])))


def run(args: argparse.Namespace, argv: list[str]) -> int:
    """Execute one command and return its exit code; `argv` is the command after `--`."""
    registry = Registry(args.registry)
    if args.merge is not None:
        from telepathy.experiments.manager import merge

        print("\n".join(merge(registry, args.merge).lines))
        return 0
    if args.command is None:
        raise UsageError("No command given. `--help` lists the commands.")
    if args.command == "summary":
        from telepathy.experiments.manager import status

        print("\n".join(status(registry).lines))
        return 0
    if args.command == "merge-driver":
        from telepathy.experiments.registry.merging import merge_files

        _, ours, theirs = args.files
        merge_files(ours, theirs)
        return 0
    return _run_on_experiment(registry, args, argv)


def _run_on_experiment(registry: Registry, args: argparse.Namespace, argv: list[str]) -> int:
    config = None if args.config is None else _read_object(args.config, "--config")
    if args.command == "should_run":
        decision = registry.should_run(args.name, config)
        print(f"{int(decision.run)}|{decision.reason}")
        return 0
    if args.command in ("add", "start", "run"):
        budgets = {
            name: getattr(args, name)
            for name in ("max_failures", "max_preemptions")
            if getattr(args, name) is not None
        }
        if args.command == "run":
            return _run_command(registry, args, argv, config, budgets)
        if args.command == "add":
            record = registry.add(args.name, config, **budgets)
        else:
            pid = os.getppid() if args.pid is None else args.pid
            record = registry.start(
                args.name, config, gpu=args.gpu, pid=pid, force=args.force, **budgets
            )
        print(record.key)
        return 0
    _report(registry, args, registry.find(args.name, config))
    return 0


def _report(registry: Registry, args: argparse.Namespace, record: Record) -> None:
    from telepathy.experiments.registry.outputs import tail

    if args.command == "complete":
        metrics = _read_object(args.metrics, "--metrics")
        registry.complete(record, metrics=metrics, result_file=args.result_file)
    elif args.command == "fail":
        log = tail(args.log) if args.log else []
        registry.fail(record, error=args.error, exit_code=args.exit_code, log_tail=log)
    elif args.command == "preempt":
        registry.preempt(record, error=args.error, exit_code=args.exit_code)
    else:
        registry.heartbeat(record)


def _run_command(
    registry: Registry,
    args: argparse.Namespace,
    argv: list[str],
    config: dict[str, Any] | None,
    budgets: dict[str, Any],
) -> int:
    from telepathy.experiments.registry.execution import exit_code_of, run_experiment

    if not argv:
        raise UsageError("No command to run. Give it after --: run NAME -- COMMAND ...")
    try:
        record = run_experiment(
            registry,
            args.name,
            argv,
            config=config,
            gpu=args.gpu,
            result_file=args.result_file,
            force=args.force,
            echo=True,
            **budgets,
        )
    except NotDueError as error:
        print(f"skipped: {error}", file=sys.stderr)
        return 0
    print(f"{record.name}: {record.state}  {record.error}".rstrip(), file=sys.stderr)
    return exit_code_of(record)


def _read_object(text: str, flag: str) -> dict[str, Any]:
    """Parse a JSON object, given as text or as a file name."""
    try:
        found = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"Invalid {flag} '{text[:80]}' ({error}). Give a JSON object or the name of a JSON "
            "file."
        ) from error
    if not isinstance(found, dict):
        raise UsageError(f"Invalid {flag} '{text[:80]}'. Give a JSON object.")
    return found


if __name__ == "__main__":
    main()
