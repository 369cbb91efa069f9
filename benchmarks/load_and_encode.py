"""Measure the load time of the embedded pair, and the time saved by running fewer sender layers.

    python benchmarks/load_and_encode.py [--rounds 7]

Loading is timed in new processes, after one that fills the cache. Encoding a batch up to layer 18
and up to layer 30 is timed in interleaved rounds. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

LOAD = (
    "import time; began = time.perf_counter()\n"
    "from latentwire.models.loading import load_pair\n"
    "load_pair(None, None)\n"
    "print(time.perf_counter() - began)"
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    loads = [
        float(
            subprocess.run(
                [sys.executable, "-c", LOAD], capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(4)
    ][1:]

    from latentwire import load_task
    from latentwire.core.provenance import describe_environment
    from latentwire.models import Sender, load_model

    sender = Sender(load_model("smollm2-135m-instruct"))
    texts = [
        sender.lm.truncate(e.context, 48)[0] for e in load_task("bbc_news").sample("val", 16, 0)
    ]
    taken: dict[int, list[float]] = {18: [], 30: []}
    for turn in range(rounds + 1):
        for layer in (18, 30) if turn % 2 else (30, 18):
            began = time.perf_counter()
            sender.encode(texts, (layer,))
            if turn:
                taken[layer].append(time.perf_counter() - began)
    ratios = [a / b for a, b in zip(taken[18], taken[30])]
    found = {
        "load_pair_s": {"median": statistics.median(loads), "max": max(loads), "n": len(loads)},
        "encode_18_of_30": {
            "ratio_median": statistics.median(ratios),
            "ratio_max": max(ratios),
            "ms_layer_18": 1000 * statistics.median(taken[18]),
            "ms_layer_30": 1000 * statistics.median(taken[30]),
            "n": rounds,
        },
        "environment": describe_environment(),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
