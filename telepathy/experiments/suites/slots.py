"""How many experiments this machine can run side by side, and where."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from telepathy.experiments.suites.expansion import Experiment

_CORES_EACH = 2


def slots(experiments: Sequence[Experiment], jobs: int | None = None) -> list[str | None]:
    """One entry for each experiment at a time: the number of its GPU, or None without GPUs.

    By default one for each GPU; without GPUs as many as cores (two each) and free memory allow.

    Args:
        experiments: What is to run; the hungriest one counts.
        jobs: So many instead; several may share a GPU.
    """
    gpus = visible_gpus()
    if gpus:
        return [gpus[i % len(gpus)] for i in range(jobs or len(gpus))]
    if jobs is None:
        memory_gb = max((e.need.memory_gb for e in experiments), default=1.0)
        fitting = min(n_cores() // _CORES_EACH, int(free_memory_gb() / memory_gb))
        jobs = max(1, fitting)
    return [None] * jobs


def visible_gpus() -> list[str]:
    """GPUs that this process may use, as `$CUDA_VISIBLE_DEVICES` names them; no torch needed."""
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


def n_cores() -> int:
    """Cores that this process may use; a job often has a part of the node's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory_gb() -> float:
    """Main memory that could be used now; unlimited where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    kib = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return int(kib) * 1024 / 1e9 if kib else float("inf")
