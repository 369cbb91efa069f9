"""What a cluster wants to be told: a small YAML file, kept apart from the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from latentwire.core.errors import ConfigError, UnknownNameError
from latentwire.data.load import read_content
from telepathy.experiments.suites.loading import checked
from telepathy.experiments.suites.spec import Strict

NONE = "none"
_FOLDER = Path("profiles")


class Profile(Strict):
    """Options of `sbatch`; what is left out is for the cluster to choose.

    Attributes:
        account: Who pays.
        partition: Where jobs go.
        time: Limit of one job, as sbatch takes it. A suite that needs longer goes on in the next.
        gpus: Of one job, on one node; each runs one experiment at a time.
        cpus: Of one job.
        memory: Of one job, e.g. 200G.
        jobs: So many jobs at most, as one array.
        options: More options, each as sbatch takes it.
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
        """With what the command line says instead."""
        return self.model_copy(update={k: v for k, v in given.items() if v is not None})

    def sbatch_options(self) -> list[str]:
        """What sbatch is told."""
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
    """Read a profile.

    Args:
        name_or_path: A YAML file, the name of one in `profiles/`, or `none` for an empty one. By
            default the only one in `profiles/`; an empty one if there is none.
    Raises:
        UnknownNameError: If there is none of that name, or none is named and there are several.
        DataError, ConfigError: As for suites.
    """
    if name_or_path == NONE:
        return Profile()
    known = {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}
    if name_or_path is None:
        if len(known) > 1:
            raise UnknownNameError(
                f"No profile was named and {_FOLDER}/ has several: give --profile with one of "
                f"{', '.join(known)}, or {NONE}."
            )
        return _read(next(iter(known.values()))) if known else Profile()
    if name_or_path.endswith((".yaml", ".yml")):
        return _read(Path(name_or_path))
    if name_or_path not in known:
        raise UnknownNameError.of("profile", name_or_path, [*known, NONE])
    return _read(known[name_or_path])


def _read(path: Path) -> Profile:
    found, mistakes = checked(Profile, read_content(path) or {})
    if found is None:
        listed = "\n".join(f"  {mistake}" for mistake in mistakes)
        raise ConfigError(f"{path} has {len(mistakes)} mistake(s):\n{listed}")
    return Profile.model_validate(found)
