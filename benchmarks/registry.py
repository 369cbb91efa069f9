"""Test the registry under load: concurrent updates, killed writers, and update and start times.

    python benchmarks/registry.py [--kills 200]

16 processes make 200 changes each in one registry. A process that writes continuously is killed
with SIGKILL at random times, and the files are read after each kill. With 5,000 experiments, 200
single changes and five `--status` processes are timed. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from telepathy.experiments.registry import Record, Registry
from telepathy.experiments.registry.index import RegistryIndex
from telepathy.experiments.registry.record import moved, new_record

ROOT = Path(__file__).parents[1]
N_PROCESSES, N_WRITES, N_EXPERIMENTS = 16, 200, 5000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        found = {
            "concurrency": concurrency(root / "a" / "experiment_registry.json"),
            "kills": kills(root / "b" / "experiment_registry.json", given.kills),
            "size": size(root / "c" / "experiment_registry.json"),
        }
    found["bars"] = {
        "nothing lost": found["concurrency"]["n_lost"] == 0,
        "never unreadable": found["kills"]["n_unreadable"] == 0,
        "status < 0.5 s": found["size"]["status_s"]["max"] < 0.5,
        "update < 50 ms": found["size"]["update_ms"]["median"] < 50,
        "start < 0.3 s": found["size"]["start_s"]["max"] < 0.3,
    }
    print(json.dumps(found, indent=2))


def concurrency(path: Path, n_processes: int = N_PROCESSES, n_writes: int = N_WRITES) -> Any:
    """Change a shared record and separate ones from many processes at once."""
    started = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(path, i, n_writes)) for i in range(n_processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - started
    records = {r.name: r for r in Registry(path).records()}
    shared = records["shared"].metrics["n"]
    own = sum(name != "shared" for name in records)
    expected = n_processes * n_writes
    return {
        "n_processes": n_processes,
        "n_writes": expected,
        "n_lost": expected - shared - own,
        "seconds": round(seconds, 1),
    }


def kills(path: Path, n: int) -> Any:
    """Kill a writing process at random times, and read the files after each kill."""
    chance, unreadable, behind, revision = random.Random(0), 0, 0, 0
    registry = Registry(path)
    for i in range(200):
        registry.add(f"other{i}", {"i": i})
    context = multiprocessing.get_context("fork")
    for _ in range(n):
        ready = context.Event()
        worker = context.Process(target=_write_forever, args=(path, ready))
        worker.start()
        ready.wait()
        time.sleep(chance.uniform(0, 0.03))
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join()
        try:
            records = {r.name: r for r in RegistryIndex.read(path).records()}
            own = registry.store.own_record(records["shared"].key)
        except (ValueError, KeyError):
            unreadable += 1
            continue
        newest = max(records["shared"].revision, own.revision if own else 0)
        unreadable += own is None or len(records) != 201 or newest < revision
        behind += own is not None and own.revision > records["shared"].revision
        revision = newest
    return {
        "n_kills": n,
        "n_unreadable": unreadable,
        "n_between_record_and_index": behind,
        "n_writes": revision,
    }


def size(path: Path) -> Any:
    """Time single changes and the whole `--status` process with 5,000 experiments."""
    records = [_example(i) for i in range(N_EXPERIMENTS)]
    path.parent.mkdir(parents=True)
    RegistryIndex.of(records).write(path)
    registry, updates = Registry(path), []
    for record in random.Random(0).sample(records, 200):
        started = time.perf_counter()
        registry.store.update(record.key, _again)
        updates.append(1000 * (time.perf_counter() - started))
    manager = [sys.executable, str(ROOT / "scripts" / "experiment_manager.py")]
    return {
        "n_experiments": N_EXPERIMENTS,
        "index_mb": round(path.stat().st_size / 1e6, 1),
        "update_ms": _spread(updates),
        "status_s": _spread(_timed([*manager, "--registry", str(path), "--status"])),
        "start_s": _spread(_timed([*manager, "--registry", f"{path}.none", "--status"])),
    }


def _write(path: Path, worker: int, n: int) -> None:
    registry = Registry(path)
    for i in range(n // 2):
        registry.add(f"own-{worker}-{i}")
        registry.store.update(new_record("shared").key, _again)


def _write_forever(path: Path, ready: Any) -> None:
    registry = Registry(path)
    registry.store.update(new_record("shared").key, _again)
    ready.set()
    while True:
        registry.store.update(new_record("shared").key, _again)


def _again(old: Record | None) -> Record:
    from dataclasses import replace

    old = old or new_record("shared")
    return replace(old, metrics={**old.metrics, "n": old.metrics.get("n", 0) + 1})


def _example(i: int) -> Record:
    """Return a record as suites write it; one in five failed and has the end of its log."""
    config = {
        "task": "boolq", "method": "bridge", "bridge": "perceiver", "seed": i, "soft_tokens": 8,
        "steps": 2000, "lr": 2e-4, "batch_size": 16, "sender": "meta-llama/Llama-3.1-8B-Instruct",
        "receiver": "mistralai/Mistral-7B-Instruct-v0.3",
    }  # fmt: skip
    record = new_record(f"boolq_bridge_tokens8_seed{i}", config)
    record = moved(record, "running", attempts=1, host="node17", commit="0123456789ab", pid=4242)
    if i % 5:
        score = {"value": 0.7123, "ci_low": 0.69, "ci_high": 0.73, "n": 3270}
        return moved(record, "completed", metrics={"bridge": score}, result_file="results.json")
    tail = [f"step {n}: loss 0.6931, grad norm 1.02, 12.3 steps/s" for n in range(20)]
    error = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    return moved(record, "failed", error=error, error_class="out-of-memory", log_tail=tail)


def _timed(command: list[str], n: int = 5) -> list[float]:
    seconds = []
    for _ in range(n):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return seconds


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 3), "max": round(max(values), 3)}


if __name__ == "__main__":
    main()
