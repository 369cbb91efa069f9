"""Hands a suite to SLURM: a plain job, or an array of equal jobs that all pull from the registry.

No job is told which experiments are its own: claims in the registry are atomic, so jobs may come,
go and be preempted in any order.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from latentwire.core.errors import LatentWireError, UsageError
from telepathy.experiments.suites.profile import Profile

SCRIPT = Path(__file__).parents[2] / "submit_reasoning_final.slurm"


class SubmitError(LatentWireError, RuntimeError):
    """The scheduler did not take a job; the message has its own words."""


def sbatch_command(profile: Profile, n_due: int, arguments: Sequence[str]) -> list[str]:
    """The command that submits a suite: as many jobs as the profile allows and there is work for.

    Args:
        profile: The cluster's.
        n_due: Experiments that are due.
        arguments: Of the job's script.
    """
    n_jobs = min(profile.jobs, max(1, -(-n_due // (profile.gpus or 1))))
    array = [f"--array=1-{n_jobs}"] if n_jobs > 1 else []
    return ["sbatch", "--parsable", *profile.sbatch_options(), *array, str(SCRIPT), *arguments]


def submit(command: Sequence[str]) -> str:
    """Submit, and give the job's number.

    Raises: UsageError: If this machine has no sbatch. SubmitError: If sbatch refuses.
    """
    if not shutil.which("sbatch"):
        raise UsageError(
            "There is no sbatch here. Submit on a login node of the cluster, run the suite on this "
            "machine with --local, or look at the command with --dry-run."
        )
    # A job that submits another one must not hand on what it was given itself.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
    if "SLURM_CONF" in os.environ:
        environment["SLURM_CONF"] = os.environ["SLURM_CONF"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SubmitError(
            f"sbatch refused ({done.stderr.strip() or f'exit code {done.returncode}'}). "
            f"It was called as: {shlex.join(command)}"
        )
    return done.stdout.strip().partition(";")[0]


def fits(profile: Profile) -> bool:
    """Whether the job that this process is in has the profile's account, partition and GPUs."""
    has = os.environ.get
    n_gpus = has("SLURM_GPUS_ON_NODE", "0")
    return (
        profile.account in (None, has("SLURM_JOB_ACCOUNT"))
        and profile.partition in (None, has("SLURM_JOB_PARTITION"))
        and (profile.gpus or 0) <= (int(n_gpus) if re.fullmatch(r"\d+", n_gpus) else 0)
    )
