"""Measure how much memory reading a data set of a million rows takes.

    python benchmarks/million_rows.py [--rows 1000000]

Writes a JSON Lines file in the format of sst2. A new process then counts, samples and iterates over
the train split of the task; the growth of its resident memory is reported.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path


def write_rows(path: Path, n: int) -> None:
    """Write rows of about 100 characters with different texts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as out:
        for i in range(n):
            text = (
                f"row {i} says that film number {i * 7919 % n} is neither good nor bad but long . "
            )
            out.write(json.dumps({"idx": i, "sentence": text, "label": i % 2}) + "\n")


def peak_mb() -> float:
    """Return the peak resident memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read() -> dict[str, float]:
    """Read the task as training does, and return the memory that it took."""
    from latentwire import load_task

    task = load_task("sst2")
    before = peak_mb()
    train = task.split("train")
    sample = task.sample("train", 1000, 0)
    characters = sum(len(example.context) for example in train)
    return {
        "examples": len(train),
        "sampled": len(sample),
        "characters": characters,
        "before_mb": before,
        "growth_mb": peak_mb() - before,
    }


def main() -> None:
    """Print the growth of the first read, which converts the file, and of the second."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(read()))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data" / "sst2"
        write_rows(data / "train.jsonl", args.rows)
        write_rows(data / "validation.jsonl", 100)
        environment = {
            **os.environ,
            "LATENTWIRE_DATA": f"{folder}/data",
            "LATENTWIRE_CACHE": f"{folder}/cache",
        }
        found = {
            turn: json.loads(
                subprocess.run(
                    [sys.executable, __file__, "--child"],
                    env=environment,
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
            )
            for turn in ("first read", "second read")
        }
    print(json.dumps({"rows": args.rows, **found}, indent=2))


if __name__ == "__main__":
    main()
