"""The form of a task's YAML file: every key, its type, and the rules between keys."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from latentwire.core.errors import UnknownNameError
from latentwire.data.prepare import PREPARE
from latentwire.data.templates import LETTERS, places

Kind = Literal["choice", "letter", "generation"]
SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
METRICS: dict[str, tuple[str, ...]] = {
    "choice": ("acc", "acc_norm"),
    "letter": ("acc", "acc_norm"),
    "generation": ("exact_match", "f1", "rouge_l", "final_number"),
}
Setting = Literal["blind", "shared", "split"]
SETTINGS: tuple[Setting, ...] = ("blind", "shared", "split")
_READER_PLACES = {"context", "question", "labels", "choices"}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _regular_expression(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from None
    return pattern


def _preparation(name: str) -> str:
    if name not in PREPARE:
        raise ValueError(str(UnknownNameError.of("preparation", name, PREPARE)))
    return name


Pattern = Annotated[str, AfterValidator(_regular_expression)]
Preparation = Annotated[str, AfterValidator(_preparation)]


class PackageSpec(_Strict):
    """Data inside an installed package: found on disk, never imported.

    `files` is a glob below the package folder. Text files become rows with the fields
    `text`, `folder` and `file`; a CSV becomes its own rows.
    """

    name: str
    version: str
    files: str


class SourceSpec(_Strict):
    """Where rows come from. Looked for in this order: files, folders, package, hub."""

    files: dict[str, str] | None = None  # user's own: split -> path beside the YAML
    folders: list[str] = []  # names below $LATENTWIRE_DATA
    package: PackageSpec | None = None
    hub: str | None = None
    config: str | None = None
    revision: str | None = None
    sizes: dict[str, int] = {}  # official rows per split of the source


class CarveSpec(_Strict):
    """Shares of the source's train rows that become our val or test."""

    val: float = Field(default=0.0, ge=0, lt=1)
    test: float = Field(default=0.0, ge=0, lt=1)
    seed: int = 0


class UniqueSpec(_Strict):
    """When two rows are one text: equal lower-case, space-folded context and question.

    `prefix` compares only so many first characters; `ignore` is a regular expression
    removed before comparing; `group` is a row template: rows with the same value (one
    passage, one twin pair) never part when splits are carved.
    """

    prefix: int | None = Field(default=None, gt=0)
    ignore: Pattern | None = None
    group: str | None = None


class ExampleSpec(_Strict):
    """How a row becomes an Example.

    Templates name row fields: `{sentence}`, `{choices.text}`; `{lettered}` is the
    lettered list of the choices. `choices`, `target`, `target_values` and `references`
    are dotted paths of fields; `choices` may be a list of templates instead, and
    `target_values` a list of the field's values in the order of the choices.
    """

    prepare: Preparation | None = None
    id: str | None = None
    context: str
    question: str = ""
    choices: str | list[str] | None = None
    target: str | None = None
    target_values: str | list[str | int | bool] | None = None
    references: str | None = None
    protected: str = ""
    contexts: list[str] = []
    continuation: str = ""
    fold_space: bool = False
    remove: Pattern | None = None


def _named_files(content: Any) -> Any:
    """With `source.files` and no `splits`, the files' own names are the splits."""
    if isinstance(content, dict) and "splits" not in content:
        source = content.get("source")
        files = source.get("files") if isinstance(source, dict) else None
        if isinstance(files, dict):
            return {**content, "splits": {name: name for name in files}}
    return content


class TaskSpec(_Strict):
    """A whole task file."""

    _splits_of_files = model_validator(mode="before")(_named_files)

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    version: int = Field(ge=1)
    summary: str = ""
    aliases: list[str] = []
    kind: Kind
    metric: str
    labels: list[str] = []
    source: SourceSpec
    splits: dict[SplitName, str]  # ours -> the source's
    carve: CarveSpec = CarveSpec()
    unique: UniqueSpec = UniqueSpec()
    keep: dict[str, list[str]] = {}  # field -> allowed values; other rows are left out
    example: ExampleSpec
    prompts: list[str] = Field(min_length=3)
    relay_prompts: list[str] = Field(min_length=3)
    sender_prompt_aware: str
    whole: str = "{context}\n{question}"  # context and question where one reader sees both
    blind_prompts: list[str] = Field(default=["{context}\nAnswer:"], min_length=1)
    harness_prompt: str = ""  # the template of lm-evaluation-harness
    max_context_tokens: int = Field(gt=0)
    max_new_tokens: int = Field(default=0, ge=0)
    stop: list[str] = []

    def mistakes(self) -> list[str]:
        """Rules between keys that types cannot say; one sentence per mistake."""
        return [*self._prompt_mistakes(), *self._answer_mistakes(), *self._split_mistakes()]

    def _prompt_mistakes(self) -> list[str]:
        found = []
        templates = [
            *((f"prompts.{i}", text) for i, text in enumerate(self.prompts)),
            *((f"relay_prompts.{i}", text) for i, text in enumerate(self.relay_prompts)),
            ("sender_prompt_aware", self.sender_prompt_aware),
            *((f"blind_prompts.{i}", text) for i, text in enumerate(self.blind_prompts)),
            ("whole", self.whole),
        ]
        if self.harness_prompt:
            templates.append(("harness_prompt", self.harness_prompt))
        for key, text in templates:
            n = places(text).count("context")
            if n != 1 and key != "harness_prompt":
                found.append(f"{key}: {{context}} must appear exactly once, found {n} times")
            if unknown := sorted(set(places(text)) - self._places(key)):
                known = ", ".join(f"{{{place}}}" for place in sorted(self._places(key)))
                found.append(f"{key}: unknown place {{{unknown[0]}}}; allowed: {known}")
            if text != text.rstrip():
                found.append(f"{key}: ends with white space; end right before the answer")
        if len(self.labels) > len(LETTERS) and any("choices" in places(t) for _, t in templates):
            found.append(f"{{choices}}: only {len(LETTERS)} labels can be lettered; use {{labels}}")
        asks = ["question" in places(text) for text in self.prompts]
        if any(asks) and not all(asks):
            found.append("prompts: {question} must be in all of them or in none")
        return found

    def _places(self, key: str) -> set[str]:
        """Places that the template under a key may have."""
        if key.startswith("blind_prompts"):
            return _READER_PLACES - {"question"}
        if key == "whole":
            return {"context", "question"}
        if key == "harness_prompt" and self.example.contexts:
            return _READER_PLACES | {"filled"}
        return _READER_PLACES

    def _answer_mistakes(self) -> list[str]:
        found = []
        if self.metric not in METRICS[self.kind]:
            allowed = ", ".join(METRICS[self.kind])
            found.append(f"metric: '{self.metric}' is not for kind '{self.kind}': {allowed}")
        if self.kind == "generation":
            if self.example.references is None:
                found.append("example.references: needed for kind 'generation'")
            if not self.max_new_tokens:
                found.append("max_new_tokens: needed (> 0) for kind 'generation'")
            if self.labels or self.example.choices or self.example.target:
                found.append("labels, example.choices, example.target: not for kind 'generation'")
            return found
        if self.example.target is None:
            found.append(f"example.target: needed for kind '{self.kind}'")
        if bool(self.labels) == bool(self.example.choices):
            found.append("labels, example.choices: give exactly one of the two")
        if self.kind == "letter" and len(self.labels) > len(LETTERS):
            found.append(f"kind: only {len(LETTERS)} labels can be lettered; use 'choice'")
        if len(self.labels) == 1 or len(set(self.labels)) < len(self.labels):
            found.append("labels: give at least two, all different")
        values = self.example.target_values
        if values is None and any(label.strip().isdigit() for label in self.labels):
            found.append("example.target_values: needed, as labels that are numbers are ambiguous")
        if isinstance(values, list) and self.labels and len(values) != len(self.labels):
            found.append(
                f"example.target_values: {len(values)} values for {len(self.labels)} labels"
            )
        return found

    def _split_mistakes(self) -> list[str]:
        found = []
        source = self.source
        if not (source.files or source.folders or source.package or source.hub):
            found.append("source: give files, folders, package or hub")
        if self.carve.val + self.carve.test >= 1:
            found.append("carve: val and test together leave no train rows")
        for name in ("val", "test"):
            share = getattr(self.carve, name)
            if name in self.splits and share:
                found.append(f"carve.{name}: splits.{name} is given, so nothing may be carved")
            if name not in self.splits and not share:
                found.append(f"splits.{name}: missing; name the source's split or set carve.{name}")
        if "train" not in self.splits and (self.carve.val or self.carve.test):
            found.append("splits.train: needed, as carve takes from it")
        if source.files is not None:
            for split in sorted(set(self.splits.values()) - set(source.files)):
                found.append(
                    f"splits: '{split}' is not in source.files ({', '.join(source.files)})"
                )
        return found
