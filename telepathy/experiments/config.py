"""`ExperimentConfig`: the one declaration of every option of an experiment.

Command lines, suites and the fixes of the analysis all produce this object, and
`python -m telepathy.run FOLDER` executes it. Options take their values from, in order of
precedence: the command line, a file, the defaults below.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from latentwire.core.errors import ConfigError, UnknownNameError, UsageError
from latentwire.core.files import write_json
from latentwire.models.zoo import resolve_pair
from latentwire.train.config import TrainConfig
from telepathy.experiments.registry.record import fingerprint_of
from telepathy.experiments.validation import StrictModel, merged, read_yaml, validated

FILE = "experiment.json"
"""File of a run folder that holds the experiment's configuration."""

Kind = Literal["bridge", "baselines", "benchmark"]
_MODELS: dict[str, Any] = {"group": "Models"}
_DATA: dict[str, Any] = {"group": "Data"}
_BRIDGE: dict[str, Any] = {"group": "Bridge"}
_PROMPTS: dict[str, Any] = {"group": "Prompts"}
_EVALUATION: dict[str, Any] = {"group": "Evaluation"}
_METHODS: dict[str, Any] = {"group": "Methods"}


def _listed(value: Any) -> Any:
    """Accept `a,b` and a single value for a list."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, int) else value


def _listed_methods(value: Any) -> Any:
    """Accept `lora:rank=16,lr=0.01,bridge` for a list of methods with options."""
    from latentwire.eval.options import split_methods

    return split_methods(value) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
MethodNames = Annotated[tuple[str, ...], BeforeValidator(_listed_methods)]
Numbers = Annotated[tuple[int, ...], BeforeValidator(_listed)]


class TaskConfig(StrictModel):
    """The task, and which model reads what."""

    name: str = Field(description="Task name or YAML file.", json_schema_extra=_DATA)
    mixed_with: Names = Field(
        default=(),
        description="Further tasks whose training examples are mixed in.",
        json_schema_extra=_DATA,
    )
    version: int | None = Field(
        default=None,
        description="Version of the task's file; a new version makes a new experiment.",
        json_schema_extra=_DATA,
    )
    file: str | None = Field(
        default=None, description="YAML file of the task, if it is not a named one."
    )
    setting: Literal["blind", "split", "shared"] | None = Field(
        default=None,
        description="Who reads what. blind: the sender reads everything, the receiver sees only "
        "the message; split: the sender reads the passage, the receiver the question; shared: "
        "both read everything. By default the task decides.",
        json_schema_extra=_DATA,
    )


class PairConfig(StrictModel):
    """The two language models and where they run."""

    name: str | None = Field(
        default=None,
        description="Preset of sender and receiver: embedded, paper or fake. The default is "
        "embedded.",
        json_schema_extra=_MODELS,
    )
    sender: str | None = Field(
        default=None,
        description="Sender model: embedded name, local folder, .gguf file or hub id. By default "
        "the pair's.",
        json_schema_extra=_MODELS,
    )
    receiver: str | None = Field(
        default=None,
        description="Receiver model: embedded name, local folder, .gguf file or hub id. By "
        "default the pair's.",
        json_schema_extra=_MODELS,
    )
    device: str = Field(
        default="auto",
        description="Device of both models: auto, cpu, cuda, cuda:N or mps.",
        json_schema_extra=_MODELS,
    )
    dtype: str = Field(
        default="auto",
        description="Number format of both models: auto, float32, bfloat16 or float16.",
        json_schema_extra=_MODELS,
    )


class WireConfig(StrictModel):
    """The bridge and the messages."""

    bridge: str = Field(
        default="perceiver",
        description="Kind of bridge; `latentwire bridges` lists them.",
        json_schema_extra=_BRIDGE,
    )
    soft_tokens: int = Field(
        default=8,
        ge=1,
        description="Length of a message in soft tokens.",
        json_schema_extra=_BRIDGE,
    )
    layer: Numbers | None = Field(
        default=None,
        description="Sender layer whose hidden states the bridge reads; repeat it for a bridge "
        "that reads several. By default the layer at three tenths of the depth.",
        json_schema_extra=_BRIDGE,
    )
    options: dict[str, Any] = Field(
        default={},
        description="Option of the bridge as NAME=VALUE, such as width=256; repeatable.",
        json_schema_extra=_BRIDGE,
    )
    sender_prompt: Literal["raw", "aware"] = Field(
        default="raw",
        description="Prompt of the sender. raw: the text alone; aware: the text and the task.",
        json_schema_extra=_PROMPTS,
    )
    max_tokens: int | None = Field(
        default=None,
        ge=8,
        description="Maximum length of a text in tokens of the model that reads it; longer texts "
        "are truncated. By default the task's limit.",
        json_schema_extra=_PROMPTS,
    )
    prompt: str | None = Field(
        default=None,
        description="Prompt of the receiver, with {context} in place of the message. By default "
        "it is chosen on val.",
        json_schema_extra=_PROMPTS,
    )
    codec: str = Field(
        default="fp16",
        description="How the numbers of a message are written: fp32, fp16, bf16, int8, int4 or "
        "lowrank. By default as the trained wire does, which is fp16 unless it was changed.",
        json_schema_extra=_EVALUATION,
    )


class EvalConfig(StrictModel):
    """What is evaluated, on which examples."""

    methods: MethodNames | None = Field(
        default=None,
        min_length=1,
        description="Methods to evaluate. By default all that apply to the task.",
        json_schema_extra=_METHODS,
    )
    split: Literal["train", "val", "test"] = Field(
        default="test", description="Split to evaluate.", json_schema_extra=_EVALUATION
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        description="Number of examples to evaluate, a seeded random sample. By default the "
        "whole split.",
        json_schema_extra=_EVALUATION,
    )
    relay_limit: int | None = Field(
        default=None,
        ge=1,
        description="Number of examples for the slow methods in which the sender writes text. "
        "By default as many as for the others.",
        json_schema_extra=_EVALUATION,
    )
    prompt_val_limit: int = Field(
        default=64,
        ge=1,
        description="Number of val examples on which prompts are chosen.",
        json_schema_extra=_EVALUATION,
    )
    controls: bool = Field(
        default=True,
        description="Evaluate the controls, whose messages are tampered with.",
        json_schema_extra=_METHODS,
    )
    timed: int = Field(
        default=8,
        ge=0,
        description="Number of examples whose latency is measured; 0 turns it off.",
        json_schema_extra=_EVALUATION,
    )
    seed: int = Field(
        default=0,
        ge=0,
        description="Random seed for samples and controls.",
        json_schema_extra=_EVALUATION,
    )
    seeds: Numbers = Field(
        default=(0, 1, 2),
        min_length=1,
        description="Random seeds, joined by commas; methods that are trained, sample or draw "
        "noise run once per seed.",
        json_schema_extra=_EVALUATION,
    )
    shots: int = Field(
        default=4,
        ge=1,
        description="Maximum number of examples per label in few-shot prompts.",
        json_schema_extra=_METHODS,
    )
    relay_tokens: int = Field(
        default=64,
        ge=1,
        description="Maximum length of a text relay in tokens.",
        json_schema_extra=_METHODS,
    )
    compressed_bytes: int = Field(
        default=128,
        ge=1,
        description="Maximum size of a compressed text in bytes.",
        json_schema_extra=_METHODS,
    )
    lora_rank: int = Field(
        default=8,
        ge=1,
        description="Rank of the LoRA and DoRA adapters.",
        json_schema_extra=_METHODS,
    )
    other_run: str | None = Field(
        default=None,
        description="Run folder of a bridge that was trained on another task, for the control "
        "other_task. By default one is trained.",
        json_schema_extra=_METHODS,
    )


class BenchmarkConfig(StrictModel):
    """A benchmark of a trained run."""

    name: str = Field(description="latency, memory, throughput, wire or train.")
    run: str = Field(description="Run folder, relative to the folder that holds this experiment's.")
    options: dict[str, Any] = Field(default={}, description="Options of the benchmark.")


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
            raise ValueError("the kind 'benchmark' needs the section 'benchmark', others have none")
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


# Options that a kind of experiment does not use; they are no part of what it is.
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
    """`width=256` -> {"width": 256}; values are JSON where they parse, text otherwise."""
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
    """A configuration from several layers of options.

    Args:
        layers: Nested mappings or dotted keys; later layers take precedence over earlier ones.
    Raises: ConfigError: It lists every unknown key and every wrong value with its dotted key.
    """
    config, mistakes = try_config(*layers)
    if config is None:
        raise _error(mistakes)
    return config


def try_config(*layers: Mapping[str, Any]) -> tuple[ExperimentConfig | None, dict[str, str]]:
    """As `build_config`, but returns None and a message by dotted key if there are mistakes."""
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
    """A configuration with other values at some dotted keys, such as {"train.lr": 1e-4}.

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
    """The configuration of a run folder: of `experiment.json`, else of the registry's record.

    Raises:
        DataError: If the folder holds neither, or one that cannot be read.
        ConfigError: If the configuration is not valid, or of a version before this file.
    """
    record = folder / "record.json"
    if not (folder / FILE).exists() and record.exists():
        content = read_yaml(record).get("config")
    else:
        content = read_yaml(folder / FILE)
    if not is_executable(content):
        raise ConfigError(
            f"{folder} holds no configuration that can be executed. Write one to {FILE}, or submit "
            "the suite again."
        )
    return build_config(content)


def _error(mistakes: Mapping[str, str]) -> ConfigError:
    return ConfigError("; ".join(f"{key}: {t.rstrip('.')}" for key, t in mistakes.items()) + ".")
