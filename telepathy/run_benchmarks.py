"""Run a benchmark with the flags users know: `python telepathy/run_benchmarks.py --benchmark ..`.

The same functions as `latentwire bench`. Without `--checkpoint` the embedded pair is measured, or
the models that are named, with an untrained bridge: speed does not depend on weights.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentwire.core.errors import UnknownNameError, UsageError
from latentwire.core.progress import Progress
from telepathy.cli.bench import finish, memory_apart, with_subject
from telepathy.cli.errors import run_guarded
from telepathy.cli.script_flags import device_of

if TYPE_CHECKING:
    from latentwire.bench.subject import Subject

_NAMES = ("batched", "latency", "memory", "throughput")


def parser() -> argparse.ArgumentParser:
    """The flags of the script."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--benchmark", required=True, help=", ".join(_NAMES))
    p.add_argument("--checkpoint", type=Path, help="run folder or bridge folder")
    p.add_argument("--pair", help="embedded (default), fake or paper, without --checkpoint")
    p.add_argument("--random_weights", help="SENDER,RECEIVER: built-in shapes, no download")
    p.add_argument("--gpu", type=int, help="number of the GPU; default: the best device")
    p.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    p.add_argument("--soft_tokens", type=int, default=8, help="of an untrained bridge")
    p.add_argument("--rounds", type=int, default=5, help="timed rounds")
    p.add_argument("--output_dir", type=Path, required=True, help="where results are written")
    p.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return p


def run(args: argparse.Namespace) -> None:
    """Run as the flags say, print the table and leave JSON and picture."""
    if args.benchmark not in _NAMES:
        raise UnknownNameError.of("benchmark", args.benchmark, _NAMES)
    if min(*args.batch_sizes, args.rounds, args.soft_tokens) < 1:
        raise UsageError("--batch_sizes, --rounds and --soft_tokens are 1 or more.")
    chosen = {
        "run": args.checkpoint,
        "pair": args.pair,
        "random_weights": args.random_weights,
        "soft_tokens": args.soft_tokens,
        "device": device_of(args),
    }
    if args.benchmark == "memory":
        found = memory_apart(chosen, max(args.batch_sizes))
    else:
        found = with_subject(chosen, lambda s, p, _: _measure(args, s, p))
    finish(found, args.output_dir, args.json)


def _measure(args: argparse.Namespace, subject: Subject, progress: Progress) -> dict[str, Any]:
    from latentwire.bench.latency import measure_latency
    from latentwire.bench.throughput import measure_throughput

    if args.benchmark == "throughput":
        return measure_throughput(
            subject, batch_sizes=args.batch_sizes, rounds=args.rounds, progress=progress
        )
    # `latency` is one text at a time; `batched` is the same at every batch size.
    sizes = args.batch_sizes if args.benchmark == "batched" else [1]
    return measure_latency(subject, batch_sizes=sizes, rounds=args.rounds, progress=progress)


def main() -> None:
    """Entry point."""
    run_guarded(lambda: run(parser().parse_args(sys.argv[1:])))


if __name__ == "__main__":
    main()
