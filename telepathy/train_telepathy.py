"""Train a bridge: `python telepathy/train_telepathy.py --dataset sst2 --output_dir runs/sst2`.

Maps the flags of this script to the configuration of `latentwire train`, which has more options.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from telepathy.cli.errors import run_guarded
from telepathy.cli.script_flags import add_config_flags, add_model_flags, device_of, given_values
from telepathy.cli.train import bridge_and_loss

# Flags of this script -> options of the configuration.
_CONFIG_KEYS = {
    "soft_tokens": "wire.soft_tokens",
    "loss": "train.loss",
    "lr": "train.lr",
    "batch_size": "train.batch_size",
    "grad_accum": "train.grad_accum",
    "steps": "train.steps",
    "warmup_steps": "train.warmup_steps",
    "eval_every": "train.eval_every",
    "save_every": "train.save_every",
    "seed": "train.seed",
    "log_to": "log_to",
}
_KEYS = _CONFIG_KEYS | {
    **{"source_model": "pair.sender", "target_model": "pair.receiver", "dataset": "task.name"},
    **{"source_layer": "wire.layer", "depth": "wire.options.depth", "heads": "wire.options.heads"},
}


def parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    p = argparse.ArgumentParser(description="Train a bridge between two frozen language models.")
    add_model_flags(p)
    p.add_argument("--dataset", required=True, help="task name or YAML file")
    p.add_argument("--output_dir", type=Path, required=True, help="run folder")
    p.add_argument("--resume", action="store_true", help="resume the run in --output_dir")
    p.add_argument(
        "--bridge_type",
        default="perceiver",
        help="bridge (see `latentwire bridges`) or preset (default: perceiver)",
    )
    p.add_argument(
        "--source_layer", type=int, help="sender layer to read (default: at 0.3 of the depth)"
    )
    p.add_argument("--depth", type=int, help="number of blocks, for bridges that have blocks")
    p.add_argument("--heads", type=int, help="attention heads, for bridges with attention")
    p.add_argument(
        "--diversity_weight",
        type=float,
        help="weight of the diversity objective, added to the loss (default: 0)",
    )
    add_config_flags(p, _CONFIG_KEYS, soft_tokens=8, seed=42)
    return p


def train(args: argparse.Namespace) -> None:
    """Train a bridge and print its best validation."""
    from telepathy.experiments.config import build_config
    from telepathy.reporting.training import show_training
    from telepathy.run import train as run_training

    bridge, loss = bridge_and_loss(args.bridge_type, None, args.loss, args.diversity_weight)
    options = given_values(args, _KEYS)
    options |= {"wire.bridge": bridge, "train.loss": loss, "pair.device": device_of(args)}
    done = run_training(build_config(options), args.output_dir, resume=args.resume)
    show_training(done, as_json=False)


def main() -> None:
    """Entry point."""
    run_guarded(lambda: train(parser().parse_args(sys.argv[1:])))


if __name__ == "__main__":
    main()
