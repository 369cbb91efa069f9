"""Where a run executes (host, process, SLURM job, GPU), and whether it is still alive."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Any

from telepathy.experiments.registry.record import Record, age_seconds

SILENCE_SECONDS = 300.0
# A job that is pending again was requeued, which ended its run.
_GONE = (
    "gone PENDING REQUEUED COMPLETED CANCELLED FAILED TIMEOUT PREEMPTED NODE_FAIL OUT_OF_MEMORY"
).split()


def current_place(pid: int | None = None, gpu: str | None = None) -> dict[str, Any]:
    """Record fields for the place of a run: this host, SLURM job, GPU, and a process."""
    pid = os.getpid() if pid is None else pid
    task = os.environ.get("SLURM_ARRAY_TASK_ID", "")
    return {
        "host": socket.gethostname(),
        "pid": pid,
        "pid_started": process_start(pid),
        "job_id": os.environ.get("SLURM_JOB_ID", ""),
        "array_task": f"{os.environ.get('SLURM_ARRAY_JOB_ID', '')}_{task}" if task else "",
        "job_restarts": _restarts(),
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES", "") if gpu is None else gpu,
    }


def process_start(pid: int) -> str:
    """Start time of a process as reported by the system; '' if it does not exist.

    Process ids are reused, so only the id together with the start time identifies a process.
    """
    proc = Path("/proc")
    if (proc / "self" / "stat").exists():
        try:
            boot = (proc / "sys/kernel/random/boot_id").read_text()[:8]
            # The second field, the command in parentheses, may contain spaces and parentheses.
            found = (
                (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
            )
        except OSError:
            return ""
        return "" if found[0] in ("Z", "X") else f"{boot}:{found[19]}"
    return _output("ps", "-o", "lstart=", "-p", str(pid)) or ""


class Liveness:
    """Checks whether runs are alive. SLURM is queried at most once, on first need."""

    def reason_gone(self, record: Record) -> str:
        """Why the process of a running record no longer exists; '' if it may still exist."""
        here = record.host == socket.gethostname()
        if here and record.pid is not None:
            if record.pid_started and process_start(record.pid) == record.pid_started:
                return ""
            return f"process {record.pid} is gone"
        if record.job_id:
            if record.job_id == os.environ.get("SLURM_JOB_ID") and (
                record.job_restarts < _restarts()
            ):
                return f"job {record.job_id} was requeued"
            if self.jobs is None:
                return ""
            state = self.jobs.get(record.job_id, "gone")
            return f"job {record.job_id} is {state.lower()}" if state in _GONE else ""
        silent = age_seconds(record.heartbeat_at)
        if silent > SILENCE_SECONDS:
            return f"no heartbeat from {record.host or 'its host'} for {silent / 60:.0f} minutes"
        return ""

    @cached_property
    def jobs(self) -> dict[str, str] | None:
        """State of every SLURM job by id; None if SLURM is not available."""
        if not shutil.which("squeue"):
            return None
        found = _output("squeue", "--noheader", "--array", "--format=%A %T")
        if found is None:
            return None
        return dict(line.split(maxsplit=1) for line in found.splitlines() if " " in line)


def _restarts() -> int:
    text = os.environ.get("SLURM_RESTART_COUNT", "0")
    return int(text) if text.isdigit() else 0


def _output(*command: str) -> str | None:
    """Standard output of a command; None if it failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
