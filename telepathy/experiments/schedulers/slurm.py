"""Submit a suite to SLURM as a job or an array of equal jobs whose workers share the registry.

Experiments are not assigned to jobs. Claims in the registry are atomic, so jobs may start, end and
be preempted in any order.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from latentwire.core.errors import LatentWireError, UnknownNameError, UsageError
from telepathy.experiments.validation import StrictModel, read_model

SCRIPT = Path(__file__).parents[2] / "submit_reasoning_final.slurm"
NO_PROFILE = "none"
_FOLDER = Path("profiles")


class SubmitError(LatentWireError, RuntimeError):
    """The scheduler rejected a job; the message quotes it."""


class Profile(StrictModel):
    """Options of `sbatch` for one cluster. Omitted options are left to the cluster.

    Attributes:
        account: Account that is charged.
        partition: Partition of the jobs.
        time: Time limit of one job, as sbatch takes it. A longer suite continues in the next job.
        gpus: Number of GPUs of one job, on one node; each runs one experiment at a time.
        cpus: Number of cores of one job.
        memory: Main memory of one job, such as 200G.
        jobs: Maximum number of jobs, submitted as one array.
        options: Further options, as sbatch takes them.
    """

    account: str | None = None
    partition: str | None = None
    time: str | None = None
    gpus: int | None = Field(default=None, ge=0)
    cpus: int | None = Field(default=None, ge=1)
    memory: str | None = None
    jobs: int = Field(default=1, ge=1)
    options: list[str] = Field(default=[])

    def changed(self, **given: Any) -> Profile:
        """Return the profile with the values that are not None replaced."""
        return self.model_copy(update={k: v for k, v in given.items() if v is not None})

    def sbatch_options(self) -> list[str]:
        """Command line options of sbatch."""
        flags = {
            "account": self.account,
            "partition": self.partition,
            "time": self.time,
            "gpus-per-node": self.gpus or None,
            "cpus-per-task": self.cpus,
            "mem": self.memory,
        }
        return [f"--{k}={v}" for k, v in flags.items() if v is not None] + self.options


def load_profile(name_or_path: str | None) -> Profile:
    """Read a cluster profile.

    Args:
        name_or_path: A YAML file, the name of one in `profiles/`, or `none` for an empty profile.
            By default the only one in `profiles/`; an empty one if there is none.
    Raises:
        UnknownNameError: If no profile has that name, or none is named and there are several.
        DataError: If the file cannot be read.
        ConfigError: If it has mistakes; the message lists all of them.
    """
    if name_or_path == NO_PROFILE:
        return Profile()
    known = {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}
    if name_or_path is None:
        if len(known) > 1:
            raise UnknownNameError(
                f"{_FOLDER}/ has several profiles: give --profile with one of {', '.join(known)}, "
                f"or {NO_PROFILE}."
            )
        return read_model(Profile, next(iter(known.values()))) if known else Profile()
    if name_or_path.endswith((".yaml", ".yml")):
        return read_model(Profile, Path(name_or_path))
    if name_or_path not in known:
        raise UnknownNameError.of("profile", name_or_path, [*known, NO_PROFILE])
    return read_model(Profile, known[name_or_path])


def sbatch_command(profile: Profile, n_due: int, arguments: Sequence[str]) -> list[str]:
    """The command that submits a suite, with at most one job per pending experiment.

    Args:
        profile: Profile of the cluster.
        n_due: Number of pending experiments.
        arguments: Arguments of the job's script.
    """
    n_jobs = min(profile.jobs, max(1, -(-n_due // (profile.gpus or 1))))
    array = [f"--array=1-{n_jobs}"] if n_jobs > 1 else []
    return ["sbatch", "--parsable", *profile.sbatch_options(), *array, str(SCRIPT), *arguments]


def submit(command: Sequence[str]) -> str:
    """Submit a job and return its id.

    Raises: UsageError: If this machine has no sbatch. SubmitError: If sbatch rejects the job.
    """
    if not shutil.which("sbatch"):
        raise UsageError(
            "sbatch was not found. Submit on a login node of the cluster, run the suite on this "
            "machine with --local, or show the command with --dry-run."
        )
    # A job that submits another one must not pass its own SLURM variables on.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
    if "SLURM_CONF" in os.environ:
        environment["SLURM_CONF"] = os.environ["SLURM_CONF"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SubmitError(
            f"sbatch rejected the job ({done.stderr.strip() or f'exit code {done.returncode}'}). "
            f"The command was: {shlex.join(command)}"
        )
    return done.stdout.strip().partition(";")[0]


def fits(profile: Profile) -> bool:
    """Whether the current job has the profile's account, partition and number of GPUs."""
    has = os.environ.get
    n_gpus = has("SLURM_GPUS_ON_NODE", "0")
    return (
        profile.account in (None, has("SLURM_JOB_ACCOUNT"))
        and profile.partition in (None, has("SLURM_JOB_PARTITION"))
        and (profile.gpus or 0) <= (int(n_gpus) if re.fullmatch(r"\d+", n_gpus) else 0)
    )
