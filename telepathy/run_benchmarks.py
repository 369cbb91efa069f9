"""Run a benchmark: `python telepathy/run_benchmarks.py --benchmark latency --output_dir out`.

Maps the flags of this script to `latentwire bench`, which has more options.
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
from telepathy.cli.script_flags import add_gpu_flag, device_of

if TYPE_CHECKING:
    from latentwire.bench.subject import Subject

_NAMES = ("batched", "latency", "memory", "throughput")


def parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    p = argparse.ArgumentParser(
        description="Measure the speed or memory of a bridge. Without --checkpoint the bridge is "
        "untrained: its speed does not depend on its weights."
    )
    p.add_argument("--benchmark", required=True, help=f"benchmark to run: {', '.join(_NAMES)}")
    p.add_argument("--checkpoint", type=Path, help="run folder or bridge folder to measure")
    p.add_argument(
        "--pair",
        help="model preset without --checkpoint: embedded, fake or paper (default: embedded)",
    )
    p.add_argument(
        "--random_weights",
        metavar="SENDER,RECEIVER",
        help="two built-in model shapes with random weights, as an alternative to --pair",
    )
    add_gpu_flag(p)
    p.add_argument(
        "--batch_sizes",
        type=int,
        nargs="+",
        default=[1, 2, 4, 8, 16],
        help="texts per call (default: 1 2 4 8 16)",
    )
    p.add_argument(
        "--soft_tokens",
        type=int,
        default=8,
        help="soft tokens per message of an untrained bridge (default: 8)",
    )
    p.add_argument("--rounds", type=int, default=5, help="number of timed rounds (default: 5)")
    p.add_argument("--output_dir", type=Path, required=True, help="folder for the results")
    p.add_argument("--json", action="store_true", help="print one JSON object")
    return p


def run(args: argparse.Namespace) -> None:
    """Run the benchmark, print its results and write them as JSON and plot."""
    if args.benchmark not in _NAMES:
        raise UnknownNameError.of("benchmark", args.benchmark, _NAMES)
    if min(*args.batch_sizes, args.rounds, args.soft_tokens) < 1:
        raise UsageError("--batch_sizes, --rounds and --soft_tokens must be 1 or more.")
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
    # `latency` measures one text at a time, `batched` every batch size.
    sizes = args.batch_sizes if args.benchmark == "batched" else [1]
    return measure_latency(subject, batch_sizes=sizes, rounds=args.rounds, progress=progress)


def main() -> None:
    """Entry point."""
    run_guarded(lambda: run(parser().parse_args(sys.argv[1:])))


if __name__ == "__main__":
    main()
