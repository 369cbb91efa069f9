"""Evaluate a trained bridge with the flags users know: `python telepathy/eval_telepathy.py`.

The same functions as `latentwire eval`: the whole test split, controls and baselines beside it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from telepathy.cli.errors import run_guarded
from telepathy.cli.script_flags import add_model_flags, device_of
from telepathy.reporting.results import show_results


def parser() -> argparse.ArgumentParser:
    """The flags of the script."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_model_flags(p)
    p.add_argument("--checkpoint", type=Path, required=True, help="run folder or bridge folder")
    p.add_argument("--dataset", help="task; default: the one it was trained on")
    p.add_argument("--output_dir", type=Path, required=True, help="where results are written")
    p.add_argument("--num_samples", type=int, help="a seeded random sample; default: all of test")
    p.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return p


def evaluate(args: argparse.Namespace) -> None:
    """Evaluate as the flags say and print the table."""
    from latentwire import Wire, evaluate, load_task
    from latentwire.core.errors import UsageError
    from latentwire.core.progress import default_progress

    progress = default_progress()
    task = load_task(args.dataset) if args.dataset else None
    wire = Wire.from_pretrained(
        args.checkpoint,
        sender=args.source_model,
        receiver=args.target_model,
        device=device_of(args),
        progress=progress,
    )
    task = task or wire.task
    if task is None:
        raise UsageError(f"The bridge in {args.checkpoint} names no task: give --dataset.")
    results = evaluate(
        wire, task, limit=args.num_samples, out_dir=args.output_dir, progress=progress
    )
    show_results(results.to_json(), args.json)


def main() -> None:
    """Entry point."""
    run_guarded(lambda: evaluate(parser().parse_args(sys.argv[1:])))


if __name__ == "__main__":
    main()
