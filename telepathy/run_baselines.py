"""Run a baseline with the flags users know: `python telepathy/run_baselines.py --baseline lora ..`.

The same functions as `latentwire baselines`, which runs all of them beside the bridge.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from latentwire.core.errors import UsageError
from telepathy.cli.errors import run_guarded
from telepathy.cli.script_flags import add_model_flags, device_of
from telepathy.reporting.results import show_suites

_OLD_NAMES = {
    "zeroshot": ("zeroshot_sender", "zeroshot_receiver"),
    "fewshot": ("fewshot_sender", "fewshot_receiver"),
    "ridge_regression": ("ridge",),
}


def parser() -> argparse.ArgumentParser:
    """The flags of the script."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_model_flags(p)
    p.add_argument(
        "--baseline",
        required=True,
        help="a method (zeroshot, fewshot: both models'; ridge_regression: ridge), or all",
    )
    p.add_argument("--dataset", required=True, help="task name or YAML file")
    p.add_argument("--output_dir", type=Path, required=True, help="folder of the suite")
    p.add_argument("--shots", type=int, help="most examples of each label, few-shot")
    p.add_argument("--rank", type=int, help="rank of lora and dora")
    p.add_argument("--epochs", type=int, help="passes over the training examples")
    p.add_argument("--steps", type=int, help="optimiser steps, in place of --epochs")
    p.add_argument("--batch_size", type=int, help="examples per step")
    p.add_argument("--soft_tokens", type=int, default=8, help="length of a message or prefix")
    p.add_argument("--seeds", type=int, nargs="+", default=[42, 123, 456], help="one run each")
    p.add_argument("--max_samples", type=int, help="a seeded random sample of the test split")
    p.add_argument("--max_train_samples", type=int, help="the same of the training split")
    return p


def run(args: argparse.Namespace) -> None:
    """Run as the flags say, and print the table."""
    from latentwire import TrainConfig, load_task
    from latentwire.core.progress import default_progress
    from latentwire.eval.method import METHODS
    from latentwire.eval.suite import Plan, run_suite
    from latentwire.models.loading import load_pair

    names = None if args.baseline == "all" else _OLD_NAMES.get(args.baseline, (args.baseline,))
    for name in names or ():
        METHODS.get(name)
    task = load_task(args.dataset)
    training: dict[str, Any] = {"train_limit": args.max_train_samples, "steps": _steps(args, task)}
    training["batch_size"] = args.batch_size
    config = TrainConfig.of(**{k: v for k, v in training.items() if v is not None})
    budgets = {"shots": args.shots, "lora_rank": args.rank}
    plan = Plan(
        methods=names,
        seeds=tuple(args.seeds),
        limit=args.max_samples,
        soft_tokens=args.soft_tokens,
        training=config,
        budgets={k: v for k, v in budgets.items() if v is not None},
    )
    progress = default_progress()
    lms = load_pair(args.source_model, args.target_model, device=device_of(args), progress=progress)
    found = run_suite(lms, task, args.output_dir, plan, progress=progress).to_json()
    show_suites([found], args.output_dir, as_json=False)


def _steps(args: argparse.Namespace, task: Any) -> int | None:
    """Optimiser steps that the flags name; None leaves the default."""
    from latentwire import TrainConfig

    if args.steps is not None and args.epochs is not None:
        raise UsageError("Give --steps or --epochs, not both.")
    if args.epochs is None:
        return None if args.steps is None else int(args.steps)
    if args.epochs < 1:
        raise UsageError(f"--epochs is {args.epochs}; it must be at least 1.")
    n = min(len(task.split("train")), args.max_train_samples or len(task.split("train")))
    batch = args.batch_size or TrainConfig().batch_size
    return int(args.epochs) * -(-n // int(batch))


def main() -> None:
    """Entry point."""
    run_guarded(lambda: run(parser().parse_args(sys.argv[1:])))


if __name__ == "__main__":
    main()
