"""Run baselines: `python telepathy/run_baselines.py --baseline lora --dataset sst2 ..`.

Maps the flags of this script to the configuration of `latentwire baselines`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from latentwire.core.errors import UsageError
from telepathy.cli.errors import run_guarded
from telepathy.cli.script_flags import add_config_flags, add_model_flags, device_of, given_values

if TYPE_CHECKING:
    from latentwire import Task

_EARLIER_NAMES = {
    "zeroshot": ["zeroshot_sender", "zeroshot_receiver"],
    "fewshot": ["fewshot_sender", "fewshot_receiver"],
    "ridge_regression": ["ridge"],
}
# Flags of this script -> options of the configuration.
_CONFIG_KEYS = {
    "shots": "eval.shots",
    "rank": "eval.lora_rank",
    "batch_size": "train.batch_size",
    "soft_tokens": "wire.soft_tokens",
    "max_samples": "eval.limit",
    "max_train_samples": "train.train_limit",
}
_KEYS = _CONFIG_KEYS | {
    **{"source_model": "pair.sender", "target_model": "pair.receiver"},
    **{"dataset": "task.name", "seeds": "eval.seeds"},
}


def parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    p = argparse.ArgumentParser(description="Run baselines on the test split with several seeds.")
    add_model_flags(p)
    p.add_argument(
        "--baseline",
        required=True,
        help="method to run; all; zeroshot or fewshot for both models; ridge_regression",
    )
    p.add_argument("--dataset", required=True, help="task name or YAML file")
    p.add_argument("--output_dir", type=Path, required=True, help="folder for the results")
    p.add_argument("--epochs", type=int, help="passes over the training examples")
    p.add_argument("--steps", type=int, help="optimizer steps, as an alternative to --epochs")
    p.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[42, 123, 456],
        help="random seeds, one run each (default: 42 123 456)",
    )
    add_config_flags(p, _CONFIG_KEYS, soft_tokens=8)
    return p


def run(args: argparse.Namespace) -> None:
    """Run the baselines and print the results."""
    from latentwire.core.progress import default_progress
    from telepathy.experiments.config import build_config
    from telepathy.reporting.results import show_suites
    from telepathy.run import load_tasks, open_pair, run_baselines

    options = {
        "kind": "baselines",
        "pair.device": device_of(args),
        **given_values(args, _KEYS),
    }
    if args.baseline != "all":
        options["eval.methods"] = _EARLIER_NAMES.get(args.baseline, [args.baseline])
    config = build_config(options)
    config.check()
    (task,) = load_tasks(config)
    if (steps := _steps(args, task, config.train.batch_size)) is not None:
        config = build_config(options, {"train.steps": steps})
    progress = default_progress()
    pair = open_pair(config, progress)
    found = run_baselines(config, pair, task, args.output_dir, progress).to_json()
    show_suites([found], args.output_dir, as_json=False)


def _steps(args: argparse.Namespace, task: Task, batch_size: int) -> int | None:
    """Optimizer steps that `--steps` or `--epochs` give; None for the default."""
    if args.steps is not None and args.epochs is not None:
        raise UsageError("Give --steps or --epochs, not both.")
    if args.epochs is None:
        return None if args.steps is None else int(args.steps)
    if args.epochs < 1:
        raise UsageError(f"--epochs is {args.epochs}; it must be 1 or more.")
    n_examples = len(task.split("train"))
    n_used = min(n_examples, args.max_train_samples or n_examples)
    return int(args.epochs) * -(-n_used // batch_size)


def main() -> None:
    """Entry point."""
    run_guarded(lambda: run(parser().parse_args(sys.argv[1:])))


if __name__ == "__main__":
    main()
