"""Compare trained bridges with a linear probe on the same sender layer.

    python benchmarks/bridge_vs_probe.py --out runs/bridge_vs_probe [--tasks sst2,bbc_news]
        [--seeds 0,1,2] [--train-limit 3000] [--layer 6] [--set steps=200] [--split test]

Trains one bridge per task and seed. Bridge and probe learn from the same training examples and
answer the same split. An interrupted run is resumed by the same command. Prints one JSON object and
writes a table to `OUT/table.md`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from latentwire import Wire, evaluate, load_task
from latentwire.core.files import write_text
from latentwire.core.progress import default_progress
from latentwire.core.provenance import describe_environment
from latentwire.core.run_folder import RunFolder
from latentwire.models.loading import load_pair
from latentwire.train import TrainConfig, train_seeds

TASKS = "bbc_news,tweet_sentiment,sst2,ag_news"
METHODS = ("bridge", "linear_probe")


def main() -> None:
    """Train, evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--bridge", default="perceiver")
    parser.add_argument("--layer", type=int)
    parser.add_argument("--max-tokens", type=int)
    parser.add_argument("--train-limit", type=int, default=3000)
    parser.add_argument("--split", default="test")
    parser.add_argument(
        "--limit", type=int, help="number of examples to answer (default: the whole split)"
    )
    parser.add_argument(
        "--set", action="append", default=[], help="training option as key=value; repeatable"
    )
    given = parser.parse_args()
    seeds = [int(each) for each in given.seeds.split(",")]
    settings = dict(each.split("=", 1) for each in given.set)
    config = TrainConfig.of(train_limit=given.train_limit, **settings)

    progress = default_progress()
    lms = load_pair(None, None, progress=progress)
    rows = {}
    for name in given.tasks.split(","):
        task, out = load_task(name), given.out / name
        wire = Wire.build(
            *lms, bridge=given.bridge, layer=given.layer, max_tokens=given.max_tokens, seed=seeds[0]
        )
        trained = train_seeds(wire, task, out, seeds, config=config, resume=True, progress=progress)
        accuracy: dict[str, list[float]] = {method: [] for method in METHODS}
        for seed, run in trained.runs.items():
            found = _answers(run.out_dir, given.split)
            if found is None:
                wire = Wire.from_pretrained(run.out_dir, sender=lms[0], receiver=lms[1])
                evaluate(
                    wire,
                    task,
                    methods=METHODS,
                    split=given.split,
                    limit=given.limit,
                    timed=0,
                    seed=seed,
                    out_dir=run.out_dir,
                    progress=progress,
                )
                found = _answers(run.out_dir, given.split)
            assert found is not None
            for method in METHODS:
                accuracy[method].append(found["methods"][method]["accuracy"]["value"])
        rows[name] = _row(accuracy, found["n"], trained.mean)
        write_text(given.out / "table.md", _table(rows, len(seeds)))
    print(json.dumps({"rows": rows, "environment": describe_environment()}, indent=2))


def _answers(folder: Path, split: str) -> dict[str, Any] | None:
    """Return the results in a run folder if they are of this split and have both methods."""
    path = RunFolder(folder).results
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    fits = found["split"] == split and all(method in found["methods"] for method in METHODS)
    return found if fits else None


def _row(accuracy: dict[str, list[float]], n: int, val: dict[str, float]) -> dict[str, Any]:
    bridge, probe = (statistics.mean(accuracy[method]) for method in METHODS)
    return {
        "n": n,
        "bridge": bridge,
        "bridge_sd": statistics.stdev(accuracy["bridge"]),
        "bridge_by_seed": accuracy["bridge"],
        "probe": probe,
        "probe_by_seed": accuracy["linear_probe"],
        "recovered": bridge / probe,
        "val": val,
    }


def _table(rows: dict[str, dict[str, Any]], n_seeds: int) -> str:
    lines = [
        f"| task | n | bridge, mean of {n_seeds} seeds % | sd | same-layer probe % | recovered % |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        shares = [row[key] * 100 for key in ("bridge", "bridge_sd", "probe", "recovered")]
        lines.append(f"| {name} | {row['n']:,} | " + " | ".join(f"{x:.1f}" for x in shares) + " |")
    mean = statistics.mean(row["recovered"] for row in rows.values())
    lines.append(f"| mean | | | | | {100 * mean:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
