"""How long a training step takes beside a plain loop and beside the least it could take.

    python benchmarks/train_speed.py [--pair embedded] [--task bbc_news] [--rounds 9] [--batch 16]

What is timed: `latentwire/bench/train.py`; `latentwire bench train` is the same for a run's own
task or a made-up one. Prints the ratios and one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from latentwire import Wire, load_task
from latentwire.bench.subject import Subject
from latentwire.bench.synthetic import made_up_task
from latentwire.bench.training import measure_training


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pair", default="embedded", help="embedded, paper or fake")
    parser.add_argument("--task", default="bbc_news", help="with --pair fake a made-up one")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=16, help="examples of a step")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n_train = args.batch * (args.rounds + 1)
        task = made_up_task(folder, n_train) if args.pair == "fake" else load_task(args.task)
        wire = Wire.build(pair=args.pair, max_tokens=48)
        found = measure_training(
            Subject(wire, task), folder, batch_size=args.batch, rounds=args.rounds
        )
    print(f"plain / ours  {found['plain_over_ours']:.2f}")
    print(f"ours / bare   {found['ours_over_bare']:.2f}")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
