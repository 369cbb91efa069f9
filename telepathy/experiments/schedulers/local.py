"""Run a suite on this machine, several experiments at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from latentwire.core.errors import REQUEUE
from telepathy.experiments.registry import Registry
from telepathy.experiments.registry.execution import stop_signals
from telepathy.experiments.registry.scheduling import decide
from telepathy.experiments.schedulers.git_push import Pusher
from telepathy.experiments.schedulers.worker import Worker, n_cores
from telepathy.experiments.suites.earlier_records import records_of
from telepathy.experiments.suites.expansion import Experiment
from telepathy.experiments.suites.loading import Suite
from telepathy.experiments.suites.summary import summary
from telepathy.reporting.text import View

_CORES_EACH = 2


def run_here(
    suite: Suite,
    experiments: Sequence[Experiment],
    registry: Registry,
    *,
    jobs: int | None = None,
    push: bool = False,
) -> View:
    """Run the pending experiments of a suite. Call it in the main thread: it handles signals.

    Args:
        suite: The suite.
        experiments: Its experiments.
        registry: The registry.
        jobs: Number of experiments at a time; by default as many as fit.
        push: Push results with git, every ten minutes and at the end.
    Returns: State of all experiments. The exit code is 75 if a signal stopped the work before
        all experiments were done.
    """
    places = slots(experiments, jobs)
    pusher = Pusher(registry, experiments, f"Results of {suite.prefix}") if push else None
    known = records_of(experiments, registry.records())
    for experiment in experiments:
        record = known.get(experiment.key)
        if record is None or record.key == experiment.key or decide(record).run:
            config = experiment.config.resolved()
            registry.add(experiment.name, config, command=experiment.command)
    with stop_signals() as stop:
        _say(f"{len(places)} at a time; logs and results are in {registry.store.runs_dir}/")
        on_completed = pusher.push_if_due if pusher else None
        Worker(registry, experiments, stop, _say, on_completed).run(places)
        if pusher:
            pusher.push()
    view = summary(suite, experiments, registry)
    stopped = bool(stop.numbers) and view.data["n_due"]
    return replace(view, exit_code=REQUEUE) if stopped else view


def slots(experiments: Sequence[Experiment], jobs: int | None = None) -> list[str | None]:
    """Return the slots, each of which runs one experiment at a time: a GPU index or None.

    By default there is one slot per GPU; without GPUs, as many as cores (two each) and free memory
    allow.

    Args:
        experiments: Experiments to run; the largest memory estimate decides.
        jobs: Number of slots; several may share a GPU.
    """
    gpus = visible_gpus()
    if gpus:
        return [gpus[i % len(gpus)] for i in range(jobs or len(gpus))]
    if jobs is None:
        memory_gb = max((e.resources.memory_gb for e in experiments), default=1.0)
        fitting = min(n_cores() // _CORES_EACH, int(free_memory_gb() / memory_gb))
        jobs = max(1, fitting)
    return [None] * jobs


def visible_gpus() -> list[str]:
    """GPUs of this process, named as in `$CUDA_VISIBLE_DEVICES`. Needs no torch."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [gpu for gpu in named.split(",") if gpu.strip() not in ("", "-1", "NoDevFiles")]
    if not shutil.which("nvidia-smi"):
        return []
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    return listed.stdout.split()


def free_memory_gb() -> float:
    """Available main memory; infinite where the system does not report it."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    kib = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return int(kib) * 1024 / 1e9 if kib else float("inf")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
