"""The form of a suite's YAML file: every key, its type, and the rules between keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from latentwire.core.errors import UnknownNameError, UsageError
from telepathy.experiments.suites.commands import Flags, Option

ALL = "all"
CONTROLLED = ("bridge", "zero", "random", "shuffled")
# What a suite says itself, so that no option may.
OWN_FLAGS = {
    *("task", "out", "resume", "overwrite", "json", "seed", "seeds", "bridge", "preset"),
    *("soft_tokens", "run", "method", "methods", "other_run", "log_to"),
}


class Strict(BaseModel):
    """Unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Need(Strict):
    """What one experiment is thought to take: decides how many run side by side, never a result."""

    memory_gb: float = Field(default=4.0, gt=0)
    minutes: float = Field(default=60.0, gt=0)


class Section(Strict):
    """What all sections have. `options` are flags of the command, beside and above `settings`."""

    tasks: list[str] = []  # of the suite's tasks; none: all
    seeds: list[int] = []  # none: the suite's
    options: dict[str, Option] = {}
    need: Need = Need()


class Bridges(Section):
    """A grid of trainings, each evaluated: `latentwire train`, then `latentwire eval`."""

    bridge: list[str] = Field(default=["perceiver"], min_length=1)
    soft_tokens: list[int] = Field(default=[8], min_length=1)
    methods: list[str] = list(CONTROLLED)


class Baselines(Section):
    """Methods that share models, bridges and answers: one `latentwire baselines` for each task."""

    bridge: str = "perceiver"
    soft_tokens: int = Field(default=8, ge=1)
    methods: list[str] | Literal["all"] = "all"


class Benchmarks(Section):
    """`latentwire bench` of trained bridges; left out where that command is missing."""

    kinds: list[str] = Field(min_length=1)
    of: str  # section with the bridges


class SuiteSpec(Strict):
    """A whole suite at one scale."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    prefix: str = Field(default="", pattern=r"^[a-z0-9_]*$")
    summary: str = ""
    tasks: list[str] = Field(min_length=1)
    seeds: list[int] = Field(default=[0], min_length=1)
    settings: dict[str, Option] = {}
    log_to: list[str] = []  # trackers; no part of what an experiment is
    baselines: dict[str, Baselines] = {}
    bridges: dict[str, Bridges] = {}
    benchmarks: dict[str, Benchmarks] = {}

    @property
    def sections(self) -> dict[str, Section]:
        """All sections by dotted key, in the order of the work: what takes longest comes first."""
        kinds: dict[str, Mapping[str, Section]] = {
            "baselines": self.baselines,
            "bridges": self.bridges,
            "benchmarks": self.benchmarks,
        }
        return {f"{kind}.{name}": s for kind, part in kinds.items() for name, s in part.items()}

    def tasks_of(self, section: Section) -> list[str]:
        """Tasks of a section."""
        return section.tasks or self.tasks

    def seeds_of(self, section: Section) -> list[int]:
        """Seeds of a section."""
        return section.seeds or self.seeds

    def mistakes(self, load_task: Callable[[str], Any]) -> list[str]:
        """Rules that types cannot say; one sentence per mistake."""
        from latentwire.train.trackers import TRACKERS

        found = []
        if not self.sections:
            found.append("baselines, bridges, benchmarks: give at least one section")
        found += _names("tasks", self.tasks, load_task)
        found += _names("log_to", self.log_to, TRACKERS.get)
        found += self._setting_mistakes()
        for key, section in self.sections.items():
            found += [
                f"{key}.tasks: {UnknownNameError.of('task', t, self.tasks)}"
                for t in section.tasks
                if t not in self.tasks
            ]
            found += self._section_mistakes(key, section)
        for key, seeds in {"seeds": self.seeds, **_seeds(self.sections)}.items():
            if len({*seeds}) < len(seeds):
                found.append(f"{key}: a seed is given twice: {seeds}")
        return found

    def _setting_mistakes(self) -> list[str]:
        training, evaluation = Flags.of("train"), Flags.of("eval")
        flags = Flags.of("train", "eval")
        if self.baselines:
            # What is trained there must be trained alike: no setting is dropped in silence.
            own = evaluation.without({*training.kinds, "codec"})
            flags = Flags({**own.kinds, **Flags.of("baselines").kinds})
        return _option_mistakes("settings", self.settings, flags)

    def _section_mistakes(self, key: str, section: Section) -> list[str]:
        from latentwire.bridge import BRIDGES
        from latentwire.eval.method import METHODS

        if isinstance(section, Bridges):
            flags = Flags.of("train", "eval")
            found = _names(f"{key}.bridge", section.bridge, BRIDGES.get)
            found += _names(f"{key}.methods", section.methods, METHODS.get)
            if any(n < 1 for n in section.soft_tokens):
                found.append(f"{key}.soft_tokens: give numbers of 1 or more")
        elif isinstance(section, Baselines):
            flags = Flags.of("baselines")
            found = _names(f"{key}.bridge", [section.bridge], BRIDGES.get)
            if section.methods != ALL:
                found += _names(f"{key}.methods", section.methods, METHODS.get)
        elif isinstance(section, Benchmarks):
            trained = {*self.bridges, *(n for n, b in self.baselines.items() if trains(b))}
            wrong = UnknownNameError.of("section with bridges", section.of, trained)
            return [] if section.of in trained else [f"{key}.of: {wrong}"]
        return found + _option_mistakes(f"{key}.options", section.options, flags)


def trains(section: Baselines) -> bool:
    """Whether a group of methods leaves trained bridges behind."""
    return section.methods == ALL or "bridge" in section.methods


def _option_mistakes(key: str, options: Mapping[str, Option], flags: Flags) -> list[str]:
    """What is wrong with options; the name of a codec is known before anything is trained."""
    from latentwire.wire.codecs import CODECS

    found = flags.without(OWN_FLAGS).mistakes(key, options)
    name = str(options.get("codec", "fp32"))
    if name not in CODECS.names():
        found.append(f"{key}.codec: {UnknownNameError.of('codec', name, CODECS.names())}")
    return found


def _names(key: str, names: Iterable[str], get: Callable[[str], Any]) -> list[str]:
    """What is wrong with names of a catalogue: the sentence of its own error for each."""
    found = []
    for name in names:
        try:
            get(name)
        except UsageError as error:
            found.append(f"{key}: {error}")
    return found


def _seeds(sections: dict[str, Section]) -> dict[str, list[int]]:
    return {f"{key}.seeds": section.seeds for key, section in sections.items()}
