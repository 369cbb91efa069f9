"""Expand a suite to experiments, each with its name, configuration and folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentwire.core.errors import ConfigError
from telepathy.experiments.benchmarks import benchmark_options
from telepathy.experiments.config import (
    SHORT_NAMES,
    ExperimentConfig,
    Kind,
    build_config,
    command_of,
    dotted_keys,
    uses,
)
from telepathy.experiments.registry.record import key_of
from telepathy.experiments.suites.loading import Suite
from telepathy.experiments.suites.spec import (
    ALL,
    BaselineSection,
    BenchmarkSection,
    BridgeSection,
    Options,
    Resources,
)


@dataclass(frozen=True)
class Experiment:
    """One experiment of a suite.

    Args:
        name: Name, unique within the suite.
        config: Its configuration; with the name it determines the key.
        runs_dir: Folder of all run folders.
        resources: Estimated cost.
        needs: Keys of experiments that have to be completed before.
    """

    name: str
    config: ExperimentConfig
    runs_dir: Path
    resources: Resources = field(default_factory=Resources)
    needs: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its key in the registry, and the name of its run folder."""
        return key_of(self.name, self.config.fingerprint)

    @property
    def folder(self) -> Path:
        """Its run folder."""
        return self.runs_dir / self.key

    @property
    def result_file(self) -> Path:
        """The file with its results."""
        return self.folder / "results.json"

    @property
    def command(self) -> list[str]:
        """Program and arguments that execute it."""
        return command_of(self.folder)

    @property
    def alone(self) -> bool:
        """Whether it measures time and needs its GPU, or a CPU-only machine, for itself."""
        return self.config.kind == "benchmark"


def expand(suite: Suite, runs_dir: Path) -> list[Experiment]:
    """All experiments of a suite; those that take longest come first.

    Equal experiments of two sections are returned once.

    Args:
        suite: The suite.
        runs_dir: Folder of all run folders.
    Raises: ConfigError: If two experiments of one name have different configurations.
    """
    found: dict[str, Experiment] = {}
    for experiment in _Expansion(suite, runs_dir).experiments():
        other = found.setdefault(experiment.name, experiment)
        if other.key != experiment.key:
            raise ConfigError(
                f"Two sections of the suite '{suite.spec.name}' have an experiment "
                f"{experiment.name}, with different configurations: "
                f"{_differences(other.config, experiment.config)}. Change one section, or remove "
                "it."
            )
    return list(found.values())


class _Expansion:
    """Expands one suite and remembers which run has the bridge of each section and task."""

    def __init__(self, suite: Suite, runs_dir: Path) -> None:
        self.suite, self.spec, self.runs_dir = suite, suite.spec, runs_dir
        self.bridges: dict[tuple[str, str], tuple[str, str]] = {}

    def experiments(self) -> Iterator[Experiment]:
        for key, section in self.spec.sections.items():
            name = key.partition(".")[2]
            for task in self.spec.tasks_of(section):
                if isinstance(section, BaselineSection):
                    yield self._baselines(name, section, task)
                elif isinstance(section, BridgeSection):
                    yield from self._bridges(name, section, task)
                elif isinstance(section, BenchmarkSection):
                    yield from self._benchmarks(section, task)

    def _baselines(self, name: str, section: BaselineSection, task: str) -> Experiment:
        seeds = self.spec.seeds_of(section)
        own = {
            "wire.bridge": section.bridge,
            "wire.soft_tokens": section.soft_tokens,
            "eval.seeds": seeds,
            "eval.methods": None if section.methods == ALL else section.methods,
        }
        config = self._config("baselines", task, section.options, own)
        experiment = self._experiment([config.task.name, name], config, section.need)
        if section.trains_bridges:
            run = f"{experiment.key}/seed-{seeds[0]}"
            self.bridges[name, task] = (experiment.key, run)
        return experiment

    def _bridges(self, name: str, section: BridgeSection, task: str) -> Iterator[Experiment]:
        for bridge, soft_tokens, seed in _grid(
            section.bridge, section.soft_tokens, self.spec.seeds_of(section)
        ):
            own = {
                "wire.bridge": bridge,
                "wire.soft_tokens": soft_tokens,
                "train.seed": seed,
                "eval.methods": section.methods,
            }
            config = self._config("bridge", task, section.options, own)
            parts = [config.task.name, *([name] if section.options else [])]
            parts.append(f"{bridge}.k{soft_tokens}.s{seed}")
            experiment = self._experiment(parts, config, section.need)
            self.bridges.setdefault((name, task), (experiment.key, experiment.key))
            yield experiment

    def _benchmarks(self, section: BenchmarkSection, task: str) -> Iterator[Experiment]:
        if (section.of, task) not in self.bridges:
            return  # the measured section does not cover this task
        needed, run = self.bridges[section.of, task]
        for kind in section.kinds:
            options = benchmark_options(kind, section.options)
            own = {"benchmark": {"name": kind, "run": run, "options": options}}
            config = self._config("benchmark", task, {}, own)
            parts = [config.task.name, f"bench-{kind}"]
            yield self._experiment(parts, config, section.need, (needed,))

    def _config(
        self, kind: Kind, task: str, options: Options, own: Mapping[str, Any]
    ) -> ExperimentConfig:
        known, file = self.suite.task(task), self.suite.task_file(task)
        first = {
            "kind": kind,
            "task.name": known.name,
            "task.version": known.version,
            "task.file": str(file) if file else None,
            "log_to": self.spec.log_to,
        }
        layers = dotted_keys(self.spec.settings) | dotted_keys(options)
        return build_config(first, {k: v for k, v in layers.items() if uses(kind, k)}, own)

    def _experiment(
        self,
        parts: Iterable[str],
        config: ExperimentConfig,
        resources: Resources,
        needs: tuple[str, ...] = (),
    ) -> Experiment:
        name = ".".join((self.suite.prefix, *parts))
        return Experiment(name, config, self.runs_dir, resources, needs)


def _grid(
    bridges: Iterable[str], soft_tokens: Iterable[int], seeds: Iterable[int]
) -> Iterator[tuple[str, int, int]]:
    """All combinations; those of the first seed come first."""
    bridges, soft_tokens = list(bridges), list(soft_tokens)
    return ((bridge, n, seed) for seed in seeds for bridge in bridges for n in soft_tokens)


def _differences(one: ExperimentConfig, other: ExperimentConfig) -> str:
    """List the dotted keys at which two configurations differ, with both values."""
    found = []
    for dotted in dict.fromkeys(SHORT_NAMES.values()):
        section, _, name = dotted.partition(".")
        values = [
            getattr(getattr(config, section), name) if name else getattr(config, section)
            for config in (one, other)
        ]
        if values[0] != values[1]:
            found.append(f"{dotted} is {values[0]!r} and {values[1]!r}")
    return "; ".join(found)
