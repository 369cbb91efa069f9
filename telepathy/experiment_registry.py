"""The registry of experiments for shell jobs: `python telepathy/experiment_registry.py`.

should_run prints `1|reason` or `0|reason`. `scripts/registry_functions.sh` wraps these commands,
`scripts/experiment_manager.py` shows the registry to people.
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
    """The commands and their flags."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--registry", type=Path, default=DEFAULT_PATH, help=f"default: {DEFAULT_PATH}")
    p.add_argument("--merge", type=Path, nargs="*", help="other registries to take in, if any")
    commands = p.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, about: str, *, named: bool = True) -> argparse.ArgumentParser:
        c = commands.add_parser(name, help=about, description=about)
        if named:
            c.add_argument("name", help="of the experiment, or its key")
            c.add_argument("--config", help="its configuration: JSON, or a JSON file")
        return c

    def budgets(c: argparse.ArgumentParser) -> None:
        c.add_argument("--max-failures", type=int, help="ends in failure before it is given up")
        c.add_argument("--max-preemptions", type=int, help="the same for preemptions")

    command("should_run", "print 1|reason or 0|reason")
    c = command("add", "write it down as pending")
    budgets(c)
    c = command("start", "claim it for a process")
    c.add_argument("--gpu", help="number of the GPU")
    c.add_argument("--pid", type=int, help="the process that is the run; default: the caller")
    c.add_argument("--force", action="store_true", help="completed or given up: start all the same")
    budgets(c)
    c = command("complete", "it is done")
    c.add_argument("--result-file", default="", help="JSON with the results")
    c.add_argument("--metrics", default="{}", help="JSON object")
    c = command("fail", "it failed")
    c.add_argument("--error", default="", help="what is known of it")
    c.add_argument("--exit-code", type=int, help="of the command")
    c.add_argument("--log", type=Path, help="its last lines go into the record")
    c = command("preempt", "it was asked to stop and goes on later")
    c.add_argument("--error", default="", help="who asked")
    c.add_argument("--exit-code", type=int, help="of the command")
    command("heartbeat", "it is still there")
    c = command("run", "run a command as this experiment: run NAME [flags] -- COMMAND..")
    c.add_argument("--gpu", help="the only GPU that the command sees")
    c.add_argument("--result-file", help="JSON that the command has to write")
    c.add_argument("--force", action="store_true", help="completed or given up: run all the same")
    budgets(c)
    command("summary", "how many are in which state", named=False)
    c = command("merge-driver", "git's merge driver: merge-driver %%O %%A %%B", named=False)
    c.add_argument("files", type=Path, nargs=3, metavar="FILE")
    return p


def main() -> None:
    """Entry point."""
    given = sys.argv[1:]
    at = given.index("--") if "--" in given else len(given)
    run_guarded(lambda: sys.exit(run(parser().parse_args(given[:at]), given[at + 1 :])))


def run(args: argparse.Namespace, argv: list[str]) -> int:
    """Do one command and give its exit code; `argv` is what `run` runs."""
    registry = Registry(args.registry)
    if args.merge is not None:
        from telepathy.experiments.manager import merge

        print("\n".join(merge(registry, args.merge).lines))
        return 0
    if args.command is None:
        raise UsageError("Give a command; --help lists them.")
    if args.command == "summary":
        from telepathy.experiments.manager import status

        print("\n".join(status(registry).lines))
        return 0
    if args.command == "merge-driver":
        from telepathy.experiments.registry.merging import merge_files

        _, ours, theirs = args.files
        merge_files(ours, theirs)
        return 0
    return _of_one(registry, args, argv)


def _of_one(registry: Registry, args: argparse.Namespace, argv: list[str]) -> int:
    config = None if args.config is None else _object(args.config, "--config")
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
            return _run(registry, args, argv, config, budgets)
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
        metrics = _object(args.metrics, "--metrics")
        registry.complete(record, metrics=metrics, result_file=args.result_file)
    elif args.command == "fail":
        log = tail(args.log) if args.log else []
        registry.fail(record, error=args.error, exit_code=args.exit_code, log_tail=log)
    elif args.command == "preempt":
        registry.preempt(record, error=args.error, exit_code=args.exit_code)
    else:
        registry.heartbeat(record)


def _run(
    registry: Registry,
    args: argparse.Namespace,
    argv: list[str],
    config: dict[str, Any] | None,
    budgets: dict[str, Any],
) -> int:
    from telepathy.experiments.registry.execution import exit_code_of, run_experiment

    if not argv:
        raise UsageError("Nothing to run. Give the command behind --: run NAME -- COMMAND..")
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


def _object(text: str, flag: str) -> dict[str, Any]:
    """A JSON object given as text or as the name of a file."""
    try:
        found = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{flag} was given '{text[:80]}': it takes a JSON object or the name of a file with "
            f"one ({error})."
        ) from error
    if not isinstance(found, dict):
        raise UsageError(f"{flag} takes a JSON object, '{text[:80]}' is none.")
    return found


if __name__ == "__main__":
    main()
