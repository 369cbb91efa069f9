"""Compare the time of a training step with a plain loop and with bare passes.

    python benchmarks/train_speed.py [--pair embedded] [--task bbc_news] [--rounds 9] [--batch 16]

Like `latentwire bench train`, but on the texts of any task. See `latentwire/bench/training.py` for
what is timed. Prints the ratios and one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from latentwire import Wire, load_task
from latentwire.bench.subject import Subject
from latentwire.bench.synthetic import synthetic_task
from latentwire.bench.training import measure_training


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--pair", default="embedded", help="pair of models: embedded, paper or fake"
    )
    parser.add_argument("--task", default="bbc_news", help="task; --pair fake uses a synthetic one")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=16, help="number of examples per step")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n_train = args.batch * (args.rounds + 1)
        task = synthetic_task(folder, n_train) if args.pair == "fake" else load_task(args.task)
        wire = Wire.build(pair=args.pair, max_tokens=48)
        found = measure_training(
            Subject(wire, task), folder, batch_size=args.batch, rounds=args.rounds
        )
    print(f"plain / ours  {found['plain_over_ours']:.2f}")
    print(f"ours / bare   {found['ours_over_bare']:.2f}")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
