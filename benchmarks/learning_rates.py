"""Compare learning rates of trained baselines by their val accuracy.

    python benchmarks/learning_rates.py --out runs/learning_rates --tasks sst2,bbc_news
        [--methods lora,prompt_tuning] [--rates 3e-4,1e-3,3e-3] [--max-tokens 64] [--set steps=100]

Uses one seed and the training budget of the bridge. Completed trainings are not run again,
interrupted ones are resumed. Prints one JSON object and writes a table to `OUT/table.md`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from latentwire import load_task
from latentwire.core.files import write_json, write_text
from latentwire.core.progress import default_progress
from latentwire.core.provenance import describe_environment
from latentwire.eval.context import Context
from latentwire.eval.options import parse_method
from latentwire.models import Receiver, Sender
from latentwire.models.loading import load_pair
from latentwire.models.sender import default_layer
from latentwire.train import TrainConfig
from telepathy.cli.errors import run_guarded


def main() -> None:
    """Train, validate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", default="sst2,bbc_news")
    parser.add_argument("--methods", default="lora,prompt_tuning,prefix_blind")
    parser.add_argument("--rates", default="1e-3,3e-3,1e-2,3e-2,1e-1")
    parser.add_argument("--train-limit", type=int, default=3000)
    parser.add_argument(
        "--max-tokens",
        type=int,
        help="maximum number of tokens per text (default: that of the task)",
    )
    parser.add_argument(
        "--set", action="append", default=[], help="training option as key=value; repeatable"
    )
    given = parser.parse_args()
    settings: dict[str, Any] = dict(each.split("=", 1) for each in given.set)
    budget = TrainConfig.of(train_limit=given.train_limit, **settings)

    progress = default_progress()
    lms = load_pair(None, None, progress=progress)
    rows: list[dict[str, Any]] = []
    for name in given.tasks.split(","):
        task = load_task(name)
        context = Context(
            task,
            Sender(lms[0]),
            Receiver(lms[1]),
            layers=(default_layer(lms[0].n_layers),),
            max_tokens=given.max_tokens,
            budget=budget,
        )
        for method in given.methods.split(","):
            for rate in given.rates.split(","):
                work = given.out / name / f"{method}-{rate}"
                kept = work / "tried.json"
                if not kept.is_file():
                    progress.say(f"{name}: {method} with a learning rate of {rate}.")
                    started = time.monotonic()
                    fresh = parse_method(f"{method}:lr={rate}").build(context)
                    fresh.work = work
                    fresh.prepare(progress)
                    row = {"task": name, "method": method, "lr": float(rate)}
                    seconds = time.monotonic() - started
                    write_json(kept, {**row, **fresh.settings(), "seconds": seconds})
                rows.append(json.loads(kept.read_text(encoding="utf-8")))
                write_text(given.out / "table.md", _table(rows))
    print(json.dumps({"rows": rows, "environment": describe_environment()}, indent=2))


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| task | method | learning rate | best step | val accuracy % | val loss | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        val = row["val"]
        lines.append(
            f"| {row['task']} | {row['method']} | {row['lr']:g} | {val['step']} | "
            f"{100 * val['accuracy']:.1f} | {val['loss']:.3f} | {row['seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_guarded(main)
