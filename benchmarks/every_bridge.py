"""Train every kind of bridge for one epoch between two real models.

    python benchmarks/every_bridge.py --out runs/every_bridge [--task sst2] [--train-limit 1000]
        [--kinds perceiver,mlp] [--set lr=5e-4]

Each kind has a run folder; completed ones are not run again. A kind that fails is listed with its
error, the others still run, and the exit code is 1. Values are those of the best validation with
one seed, which is too little to rank the kinds. Prints one JSON object and writes `OUT/table.md`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from latentwire import Wire, load_task, train_bridge
from latentwire.bridge import BRIDGES
from latentwire.core.errors import LatentWireError
from latentwire.core.files import write_json, write_text
from latentwire.core.progress import default_progress
from latentwire.core.provenance import describe_environment
from latentwire.models.loading import load_pair
from latentwire.train import TrainConfig


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--kinds", help="kinds of bridges, joined by commas (default: all)")
    parser.add_argument("--train-limit", type=int, default=1000)
    parser.add_argument("--val-limit", type=int, default=300)
    parser.add_argument(
        "--set", action="append", default=[], help="training option as key=value; repeatable"
    )
    given = parser.parse_args()
    task, progress = load_task(given.task), default_progress()
    kinds = given.kinds.split(",") if given.kinds else list(BRIDGES.names())
    settings: dict[str, Any] = {
        "train_limit": given.train_limit,
        "val_limit": given.val_limit,
        **dict(each.split("=", 1) for each in given.set),
    }
    batch = TrainConfig.of(**settings).batch_size
    n_train = min(given.train_limit, len(task.split("train")))
    config = TrainConfig.of(**{**settings, "steps": math.ceil(n_train / batch)})

    lms = load_pair(None, None, progress=progress)
    rows: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        kept = given.out / kind / "epoch.json"
        if not kept.is_file():
            progress.say(f"One epoch of {kind}.")
            found = _epoch(Wire.build(*lms, bridge=kind), task, given.out / kind, config, progress)
            if "error" in found:
                rows[kind] = found
                continue
            write_json(kept, found)
        rows[kind] = json.loads(kept.read_text(encoding="utf-8"))
        write_text(given.out / "table.md", _table(rows))
    result = {"settings": vars(given) | {"out": str(given.out)}, "rows": rows}
    print(json.dumps({**result, "environment": describe_environment()}, indent=2))
    sys.exit(any("error" in row for row in rows.values()))


def _epoch(wire: Wire, task: Any, out: Path, config: TrainConfig, progress: Any) -> dict[str, Any]:
    started = time.monotonic()
    try:
        done = train_bridge(wire, task, out, config=config, resume=True, progress=progress)
    except (LatentWireError, RuntimeError, ValueError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {
        "n_parameters": wire.bridge.n_parameters,
        "n_train": done.n_train,
        "steps": done.n_steps,
        "val": done.best,
        "seconds": time.monotonic() - started,
    }


def _table(rows: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| kind | trained values | steps | val accuracy % | val loss | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for kind, row in rows.items():
        if "error" in row:
            lines.append(f"| {kind} | | | failed: {row['error']} | | |")
            continue
        val = row["val"]
        lines.append(
            f"| {kind} | {row['n_parameters']:,} | {row['steps']} | {100 * val['accuracy']:.1f} | "
            f"{val['loss']:.3f} | {row['seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
