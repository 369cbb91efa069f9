"""`ExperimentConfig`: the one declaration of every option of an experiment.

Command lines, suites and the fixes of the analysis all produce this object, and
`python -m telepathy.run FOLDER` executes it. Options take their values from, in order of
precedence: the command line, a file, the defaults below.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from latentwire.core.errors import ConfigError, UnknownNameError, UsageError
from latentwire.core.files import write_json
from latentwire.models.zoo import resolve_pair
from latentwire.train.config import TrainConfig
from telepathy.experiments.registry.record import fingerprint_of
from telepathy.experiments.sections import (
    BenchmarkConfig,
    EvalConfig,
    Names,
    PairConfig,
    TaskConfig,
    WireConfig,
)
from telepathy.experiments.validation import StrictModel, merged, read_yaml, validated

FILE = "experiment.json"
"""Name of the configuration file in a run folder."""

Kind = Literal["bridge", "baselines", "benchmark"]


class ExperimentConfig(StrictModel):
    """One experiment on one task. Build it with `build_config`.

    Attributes:
        kind: `bridge` trains a bridge and evaluates it, `baselines` evaluates many methods with
            several seeds, `benchmark` measures a trained run.
        log_to: Trackers that receive the metrics of trainings; not part of the fingerprint.
    """

    kind: Kind = "bridge"
    task: TaskConfig
    pair: PairConfig = PairConfig()
    wire: WireConfig = WireConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
    benchmark: BenchmarkConfig | None = None
    log_to: Names = Field(
        default=(),
        description="Trackers that also receive the metrics: mlflow, tensorboard, trackio, wandb.",
        json_schema_extra={"group": "Output"},
    )

    @model_validator(mode="after")
    def _benchmark_fits_kind(self) -> ExperimentConfig:
        if (self.kind == "benchmark") != (self.benchmark is not None):
            raise ValueError(
                "kind 'benchmark' needs the section 'benchmark'; other kinds must not have it"
            )
        return self

    def resolved(self) -> dict[str, Any]:
        """All options that decide the results, defaults included, as a JSON object.

        Options that this kind of experiment does not use are left out, and so are the location of
        the task's file and the trackers.

        Raises: UnknownNameError: If the pair does not exist.
        """
        found = self.model_dump(mode="json", exclude={"log_to": True, "task": {"file"}})
        for key in _UNUSED[self.kind]:
            section, _, name = key.partition(".")
            if name:
                found[section].pop(name)
            else:
                found.pop(section)
        if uses(self.kind, "pair.name"):
            pair = self.pair
            names = resolve_pair(pair.name, pair.sender, pair.receiver)
            default = None if pair.sender and pair.receiver else "embedded"
            found["pair"] |= {"name": pair.name or default}
            found["pair"] |= {"sender": names[0], "receiver": names[1]}
        return found

    @property
    def fingerprint(self) -> str:
        """16 hex digits that identify the resolved configuration."""
        return fingerprint_of(self.resolved())

    def check(self) -> None:
        """Look up all names before a model is loaded.

        Raises: ConfigError: It lists every unknown name with its dotted key.
        """
        if mistakes := self.unknown_names():
            raise _error(mistakes)

    def unknown_names(self) -> dict[str, str]:
        """Message by dotted key for each name that no catalogue has."""
        from latentwire.bridge import BRIDGES
        from latentwire.eval.options import parse_method
        from latentwire.train.trackers import TRACKERS
        from latentwire.wire.codecs import CODECS

        found: dict[str, str] = {}
        for key, names, look_up in (
            ("pair.name", [self.pair.name] if self.pair.name else [], resolve_pair),
            ("wire.bridge", [self.wire.bridge], BRIDGES.get),
            ("wire.codec", [self.wire.codec], CODECS.get),
            ("eval.methods", self.eval.methods or (), parse_method),
            ("log_to", self.log_to, TRACKERS.get),
        ):
            for name in names:
                try:
                    look_up(name)
                except UsageError as error:
                    found[key] = str(error)
        return found

    def write(self, folder: Path) -> None:
        """Write the configuration to its run folder, ready for `python -m telepathy.run`."""
        write_json(folder / FILE, self.model_dump(mode="json"))


# Options that a kind of experiment does not use; its fingerprint excludes them.
_BASELINE_OPTIONS = "seeds shots relay_tokens compressed_bytes lora_rank other_run".split()
_UNUSED: dict[Kind, tuple[str, ...]] = {
    "bridge": ("benchmark", *(f"eval.{name}" for name in _BASELINE_OPTIONS)),
    "baselines": (
        *("benchmark", "task.mixed_with", "wire.options", "wire.codec"),
        *("train.seed", "eval.seed", "eval.controls", "eval.timed"),
    ),
    "benchmark": (
        *("wire", "train", "eval", "task.mixed_with", "task.setting"),
        *("pair.name", "pair.sender", "pair.receiver"),
    ),
}
SECTIONS: dict[str, type[Any]] = {
    "task": TaskConfig,
    "pair": PairConfig,
    "wire": WireConfig,
    "train": TrainConfig,
    "eval": EvalConfig,
}
# Short names that are not the last part of their dotted key.
_SHORT = {
    "task": "task.name",
    "pair": "pair.name",
    "task_version": "task.version",
    "encoding": "wire.codec",
    "set": "wire.options",
}
SHORT_NAMES: dict[str, str] = {
    name: f"{section}.{name}"
    for section, model in reversed(SECTIONS.items())
    for name in model.model_fields
    if (section, name) not in (("task", "name"), ("pair", "name"))
} | _SHORT
"""Short name, as in a flag or a suite's `settings` -> dotted key."""


def uses(kind: Kind, key: str) -> bool:
    """Whether a kind of experiment uses an option."""
    return not {key, key.partition(".")[0]} & {*_UNUSED[kind]}


def dotted_keys(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by dotted key, from short names, dotted keys and nested sections.

    Raises: UnknownNameError: If a name is none of these.
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        section, _, inner = name.partition(".")
        if section in SECTIONS and not inner and isinstance(value, Mapping):
            found |= dotted_keys({f"{section}.{key}": each for key, each in value.items()})
        elif section in SECTIONS and inner.partition(".")[0] in SECTIONS[section].model_fields:
            found[name] = value
        elif name in SHORT_NAMES:
            found[SHORT_NAMES[name]] = named_values(value) if name == "set" else value
        else:
            raise UnknownNameError.of("option", name, SHORT_NAMES)
    return found


def named_values(pairs: Any) -> dict[str, Any]:
    """`width=256` -> {"width": 256}; values that are not JSON stay text."""
    found: dict[str, Any] = {}
    for pair in [pairs] if isinstance(pairs, str) else pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set takes NAME=VALUE, not '{pair}'.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def build_config(*layers: Mapping[str, Any]) -> ExperimentConfig:
    """Build a configuration from several layers of options.

    Args:
        layers: Nested mappings or dotted keys; later layers take precedence over earlier ones.
    Raises: ConfigError: It lists every unknown key and every wrong value with its dotted key.
    """
    config, mistakes = try_config(*layers)
    if config is None:
        raise _error(mistakes)
    return config


def try_config(*layers: Mapping[str, Any]) -> tuple[ExperimentConfig | None, dict[str, str]]:
    """Like `build_config`, but returns None and a message by dotted key if there are mistakes."""
    content: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            *parents, last = key.split(".")
            nested: Any = {last: value}
            for name in reversed(parents):
                nested = {name: nested}
            content = merged(content, nested)
    return validated(ExperimentConfig, content)


def replace(config: ExperimentConfig, changes: Mapping[str, Any]) -> ExperimentConfig:
    """Return a configuration with some values changed, by dotted key, such as {"train.lr": 1e-4}.

    Raises: ConfigError: It lists every unknown key and every wrong value with its dotted key.
    """
    return build_config(config.model_dump(mode="json"), changes)


def is_executable(content: Any) -> bool:
    """Whether recorded content is an `ExperimentConfig`, not the flat one of earlier versions."""
    return isinstance(content, Mapping) and isinstance(content.get("task"), Mapping)


def command_of(folder: Path) -> list[str]:
    """Program and arguments that execute the experiment in a run folder."""
    return ["python", "-m", "telepathy.run", str(folder)]


def read_config(folder: Path) -> ExperimentConfig:
    """Read the configuration of a run folder from `experiment.json`, else from its record.

    Raises:
        DataError: If both files are missing, or the file cannot be read.
        ConfigError: If the configuration is invalid or flat, as in earlier versions.
    """
    record = folder / "record.json"
    if not (folder / FILE).exists() and record.exists():
        content = read_yaml(record).get("config")
    else:
        content = read_yaml(folder / FILE)
    if not is_executable(content):
        raise ConfigError(
            f"{folder} has no configuration that can be executed. Write one to {FILE}, or submit "
            "the suite again."
        )
    return build_config(content)


def _error(mistakes: Mapping[str, str]) -> ConfigError:
    return ConfigError("; ".join(f"{key}: {t.rstrip('.')}" for key, t in mistakes.items()) + ".")
