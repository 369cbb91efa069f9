"""A suite becomes experiments: each with its name, its configuration and its command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentwire.core.errors import ConfigError
from telepathy.experiments.registry.record import fingerprint_of, key_of
from telepathy.experiments.suites.commands import Flags, Option, has_command
from telepathy.experiments.suites.loading import Suite
from telepathy.experiments.suites.spec import (
    ALL,
    OWN_FLAGS,
    Baselines,
    Benchmarks,
    Bridges,
    Need,
    trains,
)

# Commands are lines of a shell. It outlives signals, which its command gets as well and answers.
_SHELL = (
    'latentwire() { "${LATENTWIRE_PYTHON:-python3}" -m telepathy.cli "$@"; }; '
    "trap : INT TERM USR1; "
)


@dataclass(frozen=True)
class Experiment:
    """One experiment of a suite.

    Args:
        name: Unique within the suite.
        config: What decides its results; with the name it is the registry's key.
        lines: Command lines, each run if the one before it ended well.
        result_file: What the last one writes.
        need: What it is thought to take.
        needs: Keys of experiments that have to be completed first.
        alone: It measures time: nothing runs beside it on its GPU, or on a machine without GPUs.
    """

    name: str
    config: dict[str, Any]
    lines: tuple[str, ...]
    result_file: Path
    need: Need
    needs: tuple[str, ...] = ()
    alone: bool = False

    @property
    def key(self) -> str:
        """Its key in the registry."""
        return key_of(self.name, fingerprint_of(self.config))

    @property
    def command(self) -> list[str]:
        """Program and arguments."""
        return ["sh", "-c", _SHELL + " && ".join(self.lines)]


def expand(suite: Suite, runs_dir: Path) -> list[Experiment]:
    """All experiments of a suite, what takes longest first. Equal ones of two sections are one.

    Args:
        suite: The suite.
        runs_dir: Where run folders are: each experiment writes to the one of its key.
    Raises: ConfigError: If two experiments of one name have different configurations.
    """
    found: dict[str, Experiment] = {}
    for experiment in _Expansion(suite, runs_dir).all():
        other = found.setdefault(experiment.name, experiment)
        if other.config != experiment.config:
            raise ConfigError(
                f"Two sections of the suite '{suite.spec.name}' have an experiment "
                f"{experiment.name}, with different configurations: {other.config} and "
                f"{experiment.config}. Give one section other values, or leave it out."
            )
    return list(found.values())


class _Expansion:
    """Expands one suite; remembers which run, and where, has the bridge of a section and task."""

    def __init__(self, suite: Suite, runs_dir: Path) -> None:
        self.suite, self.spec, self.runs_dir = suite, suite.spec, runs_dir
        self.bridges: dict[tuple[str, str], tuple[str, Path]] = {}

    def all(self) -> Iterator[Experiment]:
        for name, section in self.spec.sections.items():
            name = name.partition(".")[2]
            for task in self.spec.tasks_of(section):
                if isinstance(section, Baselines):
                    yield self._baselines(name, section, task)
                elif isinstance(section, Bridges):
                    yield from self._bridges(name, section, task)
                elif isinstance(section, Benchmarks) and has_command("bench"):
                    yield from self._benchmarks(section, task)

    def _baselines(self, name: str, section: Baselines, task: str) -> Experiment:
        flags = Flags.of("baselines").without(OWN_FLAGS)
        seeds = self.spec.seeds_of(section)
        own: dict[str, Any] = {"bridge": section.bridge, "soft_tokens": section.soft_tokens}
        own["seeds"] = ",".join(map(str, seeds))
        if section.methods != ALL:
            own["methods"] = ",".join(section.methods)
        options = flags.chosen(self.spec.settings) | section.options
        config = self._config("baselines", task, own, options)
        named = self._named(config["task"], name)
        run = self._run(named, config)
        # A folder that has answers already goes on with them: there is no --resume to give.
        words = {"task": self._task(task), **own, **options, **self._log_to(), "out": run}
        line = flags.line("baselines", words)
        folder = run / config["task"]
        if trains(section):
            self.bridges[name, task] = (run.name, folder / f"seed-{seeds[0]}")
        return Experiment(named, config, (line,), folder / "results.json", section.need)

    def _bridges(self, name: str, section: Bridges, task: str) -> Iterator[Experiment]:
        train = Flags.of("train").without(OWN_FLAGS)
        # How it is asked a run knows itself.
        evaluate = Flags.of("eval").without({*OWN_FLAGS, *train.kinds} - {"device", "dtype"})
        options = self.spec.settings | section.options
        for kind, soft_tokens, seed in _grid(
            section.bridge, section.soft_tokens, self.spec.seeds_of(section)
        ):
            own = {"bridge": kind, "soft_tokens": soft_tokens, "seed": seed}
            methods = {"methods": ",".join(section.methods)}
            config = self._config("bridge", task, {**own, **methods}, options)
            parts = [f"{kind}.k{soft_tokens}.s{seed}"]
            named = self._named(config["task"], *([name] if section.options else []), *parts)
            run = self._run(named, config)
            training = {"task": self._task(task), **own, **train.chosen(options), **self._log_to()}
            lines = (
                train.line("train", {**training, "out": run, "resume": True}),
                evaluate.line(
                    "eval",
                    {
                        "run": run,
                        "method": section.methods,
                        **evaluate.chosen(options),
                        "out": run,
                    },
                ),
            )
            self.bridges.setdefault((name, task), (run.name, run))
            yield Experiment(named, config, lines, run / "results.json", section.need)

    def _benchmarks(self, section: Benchmarks, task: str) -> Iterator[Experiment]:
        if (section.of, task) not in self.bridges:
            return  # that section has other tasks
        needed, trained = self.bridges[section.of, task]
        for kind in section.kinds:
            command = f"bench {kind}"
            flags = Flags.of(command if has_command(command) else "bench")
            # The run knows its pair and how it was trained.
            common = {k: v for k, v in self.spec.settings.items() if k in ("device", "dtype")}
            options = flags.chosen(common) | section.options
            own = {"benchmark": kind, "of": trained.relative_to(self.runs_dir).as_posix()}
            config = self._config("benchmark", task, own, options)
            named = self._named(config["task"], f"bench-{kind}")
            results = self._run(named, config) / "results.json"
            line = flags.line(command, {"run": trained, **options, "json": True})
            lines = (f"{line} > {results}.part", f"mv {results}.part {results}")
            yield Experiment(named, config, lines, results, section.need, (needed,), alone=True)

    def _config(
        self, kind: str, task: str, own: Mapping[str, Any], options: Mapping[str, Option]
    ) -> dict[str, Any]:
        known = self.suite.task(task)
        named = {"kind": kind, "task": known.name, "task_version": known.version}
        return {**named, **own, **options}

    def _log_to(self) -> dict[str, str]:
        """Where trainings send their numbers: their results are the same without it."""
        return {"log_to": ",".join(self.spec.log_to)} if self.spec.log_to else {}

    def _task(self, task: str) -> str:
        """The task as the command line takes it."""
        return str(self.suite.folder / task) if task.endswith((".yaml", ".yml")) else task

    def _named(self, *parts: str) -> str:
        return ".".join((self.suite.prefix, *parts))

    def _run(self, name: str, config: dict[str, Any]) -> Path:
        return self.runs_dir / key_of(name, fingerprint_of(config))


def _grid(
    kinds: Iterable[str], soft_tokens: Iterable[int], seeds: Iterable[int]
) -> Iterator[tuple[str, int, int]]:
    """All combinations, first seeds first."""
    kinds, soft_tokens = list(kinds), list(soft_tokens)
    return ((kind, n, seed) for seed in seeds for kind in kinds for n in soft_tokens)
