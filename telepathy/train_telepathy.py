"""Train a bridge: `python telepathy/train_telepathy.py --dataset sst2 --output_dir runs/sst2`.

Maps the flags of this script to the configuration of `latentwire train`, which has more options.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from telepathy.cli.errors import run_guarded
from telepathy.cli.script_flags import add_model_flags, device_of, given_values
from telepathy.cli.train import recipe

_KEYS = {
    "source_model": "pair.sender",
    "target_model": "pair.receiver",
    "dataset": "task.name",
    "source_layer": "wire.layer",
    "soft_tokens": "wire.soft_tokens",
    "depth": "wire.options.depth",
    "heads": "wire.options.heads",
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


def parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    p = argparse.ArgumentParser(description="Train a bridge between two frozen language models.")
    add_model_flags(p)
    p.add_argument("--dataset", required=True, help="task name or YAML file")
    p.add_argument("--output_dir", type=Path, required=True, help="run folder")
    p.add_argument(
        "--source_layer", type=int, help="sender layer to read (default: 0.3 of the depth)"
    )
    p.add_argument(
        "--soft_tokens", type=int, default=8, help="soft tokens per message (default: 8)"
    )
    p.add_argument("--depth", type=int, help="number of blocks, for bridges that have blocks")
    p.add_argument("--heads", type=int, help="attention heads, for bridges with attention")
    p.add_argument(
        "--bridge_type",
        default="perceiver",
        help="bridge (see `latentwire bridges`) or preset (default: perceiver)",
    )
    p.add_argument(
        "--loss", help="weighted objectives, e.g. answer+0.5*kd (default: the preset's, or answer)"
    )
    p.add_argument("--lr", type=float, help="peak learning rate")
    p.add_argument("--batch_size", type=int, help="examples per forward pass")
    p.add_argument("--grad_accum", type=int, help="forward passes per optimizer step")
    p.add_argument("--steps", type=int, help="number of optimizer steps")
    p.add_argument("--warmup_steps", type=int, help="steps of linear learning rate warm-up")
    p.add_argument(
        "--diversity_weight",
        type=float,
        help="weight of the diversity objective, added to the loss (default: 0)",
    )
    p.add_argument("--eval_every", type=int, help="steps between validations")
    p.add_argument("--save_every", type=int, help="steps between checkpoints")
    p.add_argument(
        "--seed",
        type=int,
        default=42,
        help="random seed for initial weights, data order and sampling (default: 42)",
    )
    p.add_argument("--log_to", help="comma-separated experiment trackers, e.g. tensorboard,mlflow")
    p.add_argument("--resume", action="store_true", help="resume the run in --output_dir")
    return p


def train(args: argparse.Namespace) -> None:
    """Train a bridge and print its best validation."""
    from telepathy.experiments.config import build_config
    from telepathy.reporting.training import show_training
    from telepathy.run import train as run_training

    bridge, loss = recipe(args.bridge_type, None, args.loss, args.diversity_weight)
    options = given_values(args, _KEYS)
    options |= {"wire.bridge": bridge, "train.loss": loss, "pair.device": device_of(args)}
    done = run_training(build_config(options), args.output_dir, resume=args.resume)
    show_training(done, as_json=False)


def main() -> None:
    """Entry point."""
    run_guarded(lambda: train(parser().parse_args(sys.argv[1:])))


if __name__ == "__main__":
    main()
