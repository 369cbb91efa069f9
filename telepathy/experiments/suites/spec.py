"""The format of a suite's YAML file: every key, its type, and its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from telepathy.experiments.validation import StrictModel

ALL: Literal["all"] = "all"
Options = dict[str, Any]
"""Options by short name (`steps`), dotted key (`train.steps`) or nested section."""


class Resources(StrictModel):
    """Estimated cost of one experiment. It decides how many run at a time, never a result."""

    memory_gb: float = Field(default=4.0, gt=0)
    minutes: float = Field(default=60.0, gt=0)


class SuiteSection(StrictModel):
    """Keys that all sections have.

    Attributes:
        tasks: Tasks of the suite that the section covers; all of them if empty.
        seeds: Random seeds; the suite's if empty.
        options: Options that take precedence over the suite's `settings`.
        need: Estimated cost of each experiment.
    """

    tasks: list[str] = Field(default=[])
    seeds: list[int] = Field(default=[])
    options: Options = Field(default={})
    need: Resources = Resources()


class BridgeSection(SuiteSection):
    """A grid of trainings; each trained bridge is evaluated with a few methods."""

    bridge: list[str] = Field(default=["perceiver"], min_length=1)
    soft_tokens: list[int] = Field(default=[8], min_length=1)
    methods: list[str] = Field(default=["bridge", "zero", "random", "shuffled"])


class BaselineSection(SuiteSection):
    """Methods that share models, bridges and answers: one experiment per task."""

    bridge: str = "perceiver"
    soft_tokens: int = Field(default=8, ge=1)
    methods: list[str] | Literal["all"] = ALL

    @property
    def trains_bridges(self) -> bool:
        """Whether a benchmark can measure a bridge of this section."""
        return self.methods == ALL or "bridge" in self.methods


class BenchmarkSection(SuiteSection):
    """Benchmarks of the bridges that another section trains.

    Attributes:
        kinds: Names of benchmarks.
        of: Name of the section that trains the bridges.
    """

    kinds: list[str] = Field(min_length=1)
    of: str


class SuiteSpec(StrictModel):
    """A suite at one scale.

    Attributes:
        prefix: First part of the names of its experiments; the suite's name if empty.
        settings: Options of all experiments.
        log_to: Trackers that receive the metrics of all trainings.
    """

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    prefix: str = Field(default="", pattern=r"^[a-z0-9_]*$")
    summary: str = ""
    tasks: list[str] = Field(min_length=1)
    seeds: list[int] = Field(default=[0], min_length=1)
    settings: Options = Field(default={})
    log_to: list[str] = Field(default=[])
    baselines: dict[str, BaselineSection] = Field(default={})
    bridges: dict[str, BridgeSection] = Field(default={})
    benchmarks: dict[str, BenchmarkSection] = Field(default={})

    @property
    def sections(self) -> dict[str, SuiteSection]:
        """All sections by dotted key, in the order in which their experiments start."""
        kinds: dict[str, Mapping[str, SuiteSection]] = {
            "baselines": self.baselines,
            "bridges": self.bridges,
            "benchmarks": self.benchmarks,
        }
        return {f"{kind}.{name}": s for kind, part in kinds.items() for name, s in part.items()}

    def tasks_of(self, section: SuiteSection) -> list[str]:
        """Tasks of a section."""
        return section.tasks or self.tasks

    def seeds_of(self, section: SuiteSection) -> list[int]:
        """Seeds of a section."""
        return section.seeds or self.seeds
