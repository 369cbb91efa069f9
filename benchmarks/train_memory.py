"""Measure how much more memory training takes on ten times as many examples.

    python benchmarks/train_memory.py [--pair fake] [--steps 60] [--sizes 2000 20000]

Each size is trained in a separate process. The peak of anonymous resident memory is reported
(`RssAnon` on Linux, sampled every 20 ms; all resident memory elsewhere), so that sender states,
which are memory-mapped, do not count. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path


def resident_mb() -> float:
    """Return the memory of this process in MB, without mapped files where the system says so."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def train(pair: str, n_train: int, steps: int) -> dict[str, float]:
    """Train in this process; return the memory before training and its peak."""
    import torch

    from latentwire import Wire, train_bridge
    from latentwire.bench.synthetic import synthetic_task
    from latentwire.core.progress import Progress

    torch.set_num_threads(1)
    peak, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.is_set():
            peak[0] = max(peak[0], resident_mb())
            time.sleep(0.02)

    with tempfile.TemporaryDirectory() as name:
        os.environ["LATENTWIRE_CACHE"] = os.environ.get("LATENTWIRE_CACHE") or f"{name}/cache"
        task = synthetic_task(Path(name), n_train)
        wire = Wire.build(pair=pair)
        before = resident_mb()
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            train_bridge(wire, task, Path(name) / "run", progress=Progress(), steps=steps)
        finally:
            over.set()
            watcher.join()
    return {"before_mb": before, "peak_mb": peak[0]}


def main() -> None:
    """Measure each size in a separate process and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pair", default="fake", help="pair of models: fake, embedded or paper")
    parser.add_argument("--steps", type=int, default=60, help="number of training steps")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(train(args.pair, args.one, args.steps)))
        return
    same = [sys.executable, __file__, "--pair", args.pair, "--steps", str(args.steps)]
    sizes = {}
    for size in args.sizes:
        done = subprocess.run(
            [*same, "--one", str(size)], stdout=subprocess.PIPE, text=True, check=True
        )
        sizes[size] = json.loads(done.stdout)
    peaks = [found["peak_mb"] for found in sizes.values()]
    found = {"pair": args.pair, "sizes": sizes, "difference_mb": peaks[-1] - peaks[0]}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
