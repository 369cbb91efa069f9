"""Train a bridge with the flags this project's users know: `python telepathy/train_telepathy.py`.

The same functions as `latentwire train`; see there for everything else.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from telepathy.cli.errors import run_guarded
from telepathy.cli.options import parse_trackers
from telepathy.cli.script_flags import add_model_flags, device_of
from telepathy.cli.train import recipe


def parser() -> argparse.ArgumentParser:
    """The flags of the script."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_model_flags(p)
    p.add_argument("--dataset", required=True, help="task name or YAML file")
    p.add_argument("--output_dir", type=Path, required=True, help="run folder")
    p.add_argument("--source_layer", type=int, help="sender layer; default: 0.3 of the depth")
    p.add_argument("--soft_tokens", type=int, default=8, help="length of a message")
    p.add_argument("--depth", type=int, help="blocks of the bridge, for kinds that have them")
    p.add_argument("--heads", type=int, help="attention heads, for kinds that have them")
    p.add_argument(
        "--bridge_type",
        default="perceiver",
        help="a kind of bridge (`latentwire bridges`) or a preset",
    )
    p.add_argument(
        "--loss", help="objectives, e.g. answer+0.5*kd; default: the preset's, or answer"
    )
    p.add_argument("--lr", type=float, help="highest learning rate")
    p.add_argument("--batch_size", type=int, help="examples per pass")
    p.add_argument("--grad_accum", type=int, help="passes per step")
    p.add_argument("--steps", type=int, help="optimiser steps")
    p.add_argument("--warmup_steps", type=int, help="linear warm-up")
    p.add_argument("--diversity_weight", type=float, help="keeps soft tokens apart; default 0")
    p.add_argument("--eval_every", type=int, help="steps between validations")
    p.add_argument("--save_every", type=int, help="steps between checkpoints")
    p.add_argument("--seed", type=int, default=42, help="of weights, order and samples")
    p.add_argument("--log_to", help="send numbers there, too, e.g. tensorboard,mlflow")
    p.add_argument("--resume", action="store_true", help="go on with the run in --output_dir")
    return p


def train(args: argparse.Namespace) -> None:
    """Train as the flags say and print the best validation."""
    from latentwire import TrainConfig, Wire, load_task, train_bridge
    from latentwire.core.progress import Progress, default_progress
    from latentwire.train import Processes

    names = (
        "lr",
        "batch_size",
        "grad_accum",
        "steps",
        "warmup_steps",
        "eval_every",
        "save_every",
    )
    given = {n: getattr(args, n) for n in names if getattr(args, n) is not None}
    bridge, loss = recipe(args.bridge_type, None, args.loss, args.diversity_weight)
    config = TrainConfig.of(seed=args.seed, loss=loss, **given)
    task = load_task(args.dataset)
    trackers = parse_trackers(args.log_to)
    options = {n: getattr(args, n) for n in ("depth", "heads") if getattr(args, n) is not None}
    with Processes.joined() as processes:
        progress = default_progress() if processes.is_first else Progress()
        wire = Wire.build(
            args.source_model,
            args.target_model,
            bridge=bridge,
            soft_tokens=args.soft_tokens,
            layer=args.source_layer,
            seed=args.seed,
            device=device_of(args),
            progress=progress,
            **options,
        )
        done = train_bridge(
            wire,
            task,
            args.output_dir,
            config=config,
            resume=args.resume,
            progress=progress,
            trackers=trackers,
        )
        if processes.is_first:
            print("  ".join(f"{k} {v:.4g}" for k, v in done.best.items()))
            print(f"Run folder: {done.out_dir}")


def main() -> None:
    """Entry point."""
    run_guarded(lambda: train(parser().parse_args(sys.argv[1:])))


if __name__ == "__main__":
    main()
