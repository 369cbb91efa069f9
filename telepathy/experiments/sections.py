"""Sections of `ExperimentConfig`: each option with its type, default, limits and help text.

`latentwire.train.config.TrainConfig` is the section `train`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from telepathy.experiments.validation import StrictModel

# Groups of options in help texts.
_DATA, _MODELS, _BRIDGE, _PROMPTS = "Data", "Models", "Bridge", "Prompts"
_EVALUATION, _METHODS = "Evaluation", "Methods"


def _option(default: Any, group: str, text: str, **limits: Any) -> Any:
    """A field whose help text is listed in a group."""
    return Field(default, description=text, json_schema_extra={"group": group}, **limits)


def _listed(value: Any) -> Any:
    """Accept `a,b` and a single number for a list."""
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
    """The task and its setting."""

    name: str = _option(..., _DATA, "Task name or YAML file.")
    mixed_with: Names = _option((), _DATA, "Further tasks whose training examples are mixed in.")
    version: int | None = _option(
        None, _DATA, "Version of the task's file; a new version makes a new experiment."
    )
    file: str | None = _option(None, _DATA, "YAML file of the task, if it is not a named one.")
    setting: Literal["blind", "split", "shared"] | None = _option(
        None,
        _DATA,
        "Who reads what. blind: the sender reads everything, the receiver sees only the message; "
        "split: the sender reads the passage, the receiver the question; shared: both read "
        "everything. By default the task decides.",
    )


class PairConfig(StrictModel):
    """The two language models and where they run."""

    name: str | None = _option(
        None,
        _MODELS,
        "Preset of sender and receiver: embedded, paper or fake. The default is embedded.",
    )
    sender: str | None = _option(
        None,
        _MODELS,
        "Sender model: embedded name, local folder, .gguf file or hub id. By default the pair's.",
    )
    receiver: str | None = _option(
        None,
        _MODELS,
        "Receiver model: embedded name, local folder, .gguf file or hub id. By default the pair's.",
    )
    device: str = _option("auto", _MODELS, "Device of both models: auto, cpu, cuda, cuda:N or mps.")
    dtype: str = _option(
        "auto", _MODELS, "Number format of both models: auto, float32, bfloat16 or float16."
    )


class WireConfig(StrictModel):
    """The bridge and the messages."""

    bridge: str = _option("perceiver", _BRIDGE, "Kind of bridge; `latentwire bridges` lists them.")
    soft_tokens: int = _option(8, _BRIDGE, "Length of a message in soft tokens.", ge=1)
    layer: Numbers | None = _option(
        None,
        _BRIDGE,
        "Sender layer whose hidden states the bridge reads; repeat it for a bridge that reads "
        "several. By default the layer at three tenths of the depth.",
    )
    options: dict[str, Any] = _option(
        {}, _BRIDGE, "Option of the bridge as NAME=VALUE, such as width=256; repeatable."
    )
    sender_prompt: Literal["raw", "aware"] = _option(
        "raw", _PROMPTS, "Prompt of the sender. raw: the text alone; aware: the text and the task."
    )
    max_tokens: int | None = _option(
        None,
        _PROMPTS,
        "Maximum length of a text in tokens of the model that reads it; longer texts are "
        "truncated. By default the task's limit.",
        ge=8,
    )
    prompt: str | None = _option(
        None,
        _PROMPTS,
        "Prompt of the receiver, with {context} in place of the message. By default it is chosen "
        "on val.",
    )
    codec: str = _option(
        "fp16",
        _EVALUATION,
        "How the numbers of a message are written: fp32, fp16, bf16, int8, int4 or lowrank. By "
        "default the codec of the trained wire, which is fp16 unless it was changed.",
    )


class EvalConfig(StrictModel):
    """Methods, examples and seeds of the evaluation."""

    methods: MethodNames | None = _option(
        None, _METHODS, "Methods to evaluate. By default all that apply to the task.", min_length=1
    )
    split: Literal["train", "val", "test"] = _option("test", _EVALUATION, "Split to evaluate.")
    limit: int | None = _option(
        None,
        _EVALUATION,
        "Number of examples to evaluate, a seeded random sample. By default the whole split.",
        ge=1,
    )
    relay_limit: int | None = _option(
        None,
        _EVALUATION,
        "Number of examples for the slow methods in which the sender writes text. By default as "
        "many as for the others.",
        ge=1,
    )
    prompt_val_limit: int = _option(
        64, _EVALUATION, "Number of val examples on which prompts are chosen.", ge=1
    )
    controls: bool = _option(
        True, _METHODS, "Evaluate the controls, which receive altered messages."
    )
    timed: int = _option(
        8,
        _EVALUATION,
        "Number of examples whose latency is measured; 0 turns it off.",
        ge=0,
    )
    seed: int = _option(0, _EVALUATION, "Random seed for samples and controls.", ge=0)
    seeds: Numbers = _option(
        (0, 1, 2),
        _EVALUATION,
        "Random seeds, joined by commas; methods that are trained, sample or draw noise run once "
        "per seed.",
        min_length=1,
    )
    shots: int = _option(
        4, _METHODS, "Maximum number of examples per label in few-shot prompts.", ge=1
    )
    relay_tokens: int = _option(64, _METHODS, "Maximum length of a text relay in tokens.", ge=1)
    compressed_bytes: int = _option(
        128, _METHODS, "Maximum size of a compressed text in bytes.", ge=1
    )
    lora_rank: int = _option(8, _METHODS, "Rank of the LoRA and DoRA adapters.", ge=1)
    other_run: str | None = _option(
        None,
        _METHODS,
        "Run folder of a bridge that was trained on another task, for the control other_task. By "
        "default one is trained.",
    )


class BenchmarkConfig(StrictModel):
    """A benchmark of a trained run.

    Attributes:
        name: Name of the benchmark.
        run: Folder of the measured run, relative to the directory of all run folders.
        options: Options of the benchmark.
    """

    name: str
    run: str
    options: dict[str, Any] = Field(default={})
