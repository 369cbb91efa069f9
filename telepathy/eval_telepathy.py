"""Evaluate a bridge: `python telepathy/eval_telepathy.py --checkpoint runs/sst2 --output_dir out`.

Maps the flags of this script to `latentwire eval`, which has more options.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from telepathy.cli.errors import run_guarded
from telepathy.cli.script_flags import add_model_flags, device_of


def parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    p = argparse.ArgumentParser(
        description="Evaluate a bridge, controls and baselines on the test split."
    )
    add_model_flags(p)
    p.add_argument(
        "--checkpoint", type=Path, required=True, help="run folder or bridge folder to evaluate"
    )
    p.add_argument(
        "--dataset", help="task name or YAML file (default: the task that the bridge learned)"
    )
    p.add_argument("--output_dir", type=Path, required=True, help="folder for the results")
    p.add_argument(
        "--num_samples", type=int, help="test examples, sampled with a fixed seed (default: all)"
    )
    p.add_argument("--json", action="store_true", help="print one JSON object")
    return p


def evaluate(args: argparse.Namespace) -> None:
    """Evaluate a bridge and print the results."""
    from latentwire import Wire, load_task
    from latentwire import evaluate as evaluate_wire
    from latentwire.core.errors import UsageError
    from latentwire.core.progress import default_progress
    from telepathy.reporting.results import show_results

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
        raise UsageError(
            f"The bridge in {args.checkpoint} was not trained on a task. Give --dataset."
        )
    results = evaluate_wire(
        wire, task, limit=args.num_samples, out_dir=args.output_dir, progress=progress
    )
    show_results(results.to_json(), args.json)


def main() -> None:
    """Entry point."""
    run_guarded(lambda: evaluate(parser().parse_args(sys.argv[1:])))


if __name__ == "__main__":
    main()
