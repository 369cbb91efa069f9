"""Schema of a task's YAML file: keys, types, and rules between keys."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from latentwire.core.errors import UnknownNameError
from latentwire.data.prepare import PREPARE
from latentwire.data.templates import LETTERS, placeholders

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
        raise ValueError(f"not a valid regular expression ({error})") from None
    return pattern


def _preparation(name: str) -> str:
    if name not in PREPARE:
        raise ValueError(str(UnknownNameError.of("preparation", name, PREPARE)))
    return name


Pattern = Annotated[str, AfterValidator(_regular_expression)]
Preparation = Annotated[str, AfterValidator(_preparation)]


class PackageSpec(_Strict):
    """Data files in an installed package, which is never imported.

    Attributes:
        name: Name of the package.
        version: Version to install.
        files: Glob pattern in the package folder. A text file becomes a row with the fields
            `text`, `folder` and `file`; a CSV file contributes its own rows.
    """

    name: str
    version: str
    files: str


class SourceSpec(_Strict):
    """Sources of the rows, tried in the order files, folders, package, hub.

    Attributes:
        files: Path of each split, relative to the YAML file.
        folders: Names of folders in $LATENTWIRE_DATA.
        package: Installed package that contains the data.
        hub: Id of the data set on the hub.
        config: Configuration of the hub data set.
        revision: Commit of the hub data set.
        sizes: Official number of rows of each split of the source.
    """

    files: dict[str, str] | None = None
    folders: list[str] = []
    package: PackageSpec | None = None
    hub: str | None = None
    config: str | None = None
    revision: str | None = None
    sizes: dict[str, int] = {}


class CarveSpec(_Strict):
    """Fractions of the source's train rows that become val and test, 0..1, and the random seed."""

    val: float = Field(default=0.0, ge=0, lt=1)
    test: float = Field(default=0.0, ge=0, lt=1)
    seed: int = 0


class UniqueSpec(_Strict):
    """Rule for duplicates: rows whose context and question are equal, ignoring case and spaces.

    Attributes:
        prefix: Number of leading characters to compare; default: all.
        ignore: Regular expression whose matches are removed before the comparison.
        group: Template of row fields. Carving keeps rows with the same value, such as rows
            from one passage, in the same split.
    """

    prefix: int | None = Field(default=None, gt=0)
    ignore: Pattern | None = None
    group: str | None = None


class ExampleSpec(_Strict):
    """Rules that turn a row into an Example.

    A template contains row fields such as `{sentence}` or `{choices.text}`; `{lettered}` is the
    lettered list of choices. A path is the dotted name of a field.

    Attributes:
        prepare: Name of a function in data/prepare.py that adds fields to the row.
        id: Template of the id; default: split and row index.
        context: Template of the context.
        question: Template of the question.
        choices: Path of the list of choices, or a list of templates; default: the labels.
        target: Path of the correct choice.
        target_values: Values of the target field in the order of the choices, or their path.
        references: Path of the reference answers.
        protected: Template of the end of the context, which truncation keeps.
        contexts: Templates of one context per choice, see Example.
        continuation: Template of the continuation, see Example.
        fold_space: Whether to replace runs of white space by one space.
        remove: Regular expression whose matches are removed from context and question.
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
    """Name the splits after `source.files` if the task file has no `splits`."""
    if isinstance(content, dict) and "splits" not in content:
        source = content.get("source")
        files = source.get("files") if isinstance(source, dict) else None
        if isinstance(files, dict):
            return {**content, "splits": {name: name for name in files}}
    return content


class TaskSpec(_Strict):
    """Content of a task file.

    Attributes:
        name: Name of the task: lower-case letters, digits and underscores.
        version: Version of the task, increased when prompts or data change.
        summary: One line about the task, for tables.
        aliases: Other names of the task.
        kind: `choice` scores the texts of the choices, `letter` their letters; `generation` has
            free-form answers.
        metric: Primary metric, one of METRICS for the kind.
        labels: Choices that all items share.
        source: Where the rows come from.
        splits: Source split of each of train, val and test.
        carve: Splits that are carved from train.
        unique: Rule for duplicates.
        keep: Allowed values of fields; other rows are dropped.
        example: Rules that turn a row into an Example.
        prompts: Candidate prompts of the receiver, at least three. Placeholders are {context},
            {question}, {labels} and {choices}.
        relay_prompts: Candidate prompts with which the sender writes a text for the receiver.
        sender_prompt_aware: Prompt of a sender that knows the task.
        whole: Context and question, for a sender that reads both.
        blind_prompts: Candidate prompts of a receiver that does not read the question.
        harness_prompt: Prompt of lm-evaluation-harness, if it has the task.
        max_context_tokens: Maximum length of a context in tokens of the model that reads it.
        max_new_tokens: Maximum length of a generated answer in tokens.
        stop: Sequences that end a generated answer.
    """

    _splits_of_files = model_validator(mode="before")(_named_files)

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    version: int = Field(ge=1)
    summary: str = ""
    aliases: list[str] = []
    kind: Kind
    metric: str
    labels: list[str] = []
    source: SourceSpec
    splits: dict[SplitName, str]
    carve: CarveSpec = CarveSpec()
    unique: UniqueSpec = UniqueSpec()
    keep: dict[str, list[str]] = {}
    example: ExampleSpec
    prompts: list[str] = Field(min_length=3)
    relay_prompts: list[str] = Field(min_length=3)
    sender_prompt_aware: str
    whole: str = "{context}\n{question}"
    blind_prompts: list[str] = Field(default=["{context}\nAnswer:"], min_length=1)
    harness_prompt: str = ""
    max_context_tokens: int = Field(gt=0)
    max_new_tokens: int = Field(default=0, ge=0)
    stop: list[str] = []

    def mistakes(self) -> list[str]:
        """Return all violations of rules between keys, one sentence each."""
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
            n = placeholders(text).count("context")
            if n != 1 and key != "harness_prompt":
                found.append(f"{key}: {{context}} must appear exactly once, found {n} times")
            if unknown := sorted(set(placeholders(text)) - self._allowed_placeholders(key)):
                known = ", ".join(f"{{{name}}}" for name in sorted(self._allowed_placeholders(key)))
                found.append(f"{key}: unknown placeholder {{{unknown[0]}}}; allowed: {known}")
            if text != text.rstrip():
                found.append(
                    f"{key}: remove the white space at the end; the answer follows it directly"
                )
        if len(self.labels) > len(LETTERS) and any(
            "choices" in placeholders(t) for _, t in templates
        ):
            found.append(
                f"{{choices}}: at most {len(LETTERS)} labels can be lettered; use {{labels}}"
            )
        asks = ["question" in placeholders(text) for text in self.prompts]
        if any(asks) and not all(asks):
            found.append("prompts: either all prompts or none must contain {question}")
        return found

    def _allowed_placeholders(self, key: str) -> set[str]:
        """Return the placeholders that the template of a key may contain."""
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
            found.append(
                f"metric: '{self.metric}' is not allowed for kind '{self.kind}'; allowed: {allowed}"
            )
        if self.kind == "generation":
            if self.example.references is None:
                found.append("example.references: required for kind 'generation'")
            if not self.max_new_tokens:
                found.append("max_new_tokens: required (> 0) for kind 'generation'")
            if self.labels or self.example.choices or self.example.target:
                found.append(
                    "labels, example.choices, example.target: not allowed for kind 'generation'"
                )
            return found
        if self.example.target is None:
            found.append(f"example.target: required for kind '{self.kind}'")
        if bool(self.labels) == bool(self.example.choices):
            found.append("labels, example.choices: exactly one of the two is required")
        if self.kind == "letter" and len(self.labels) > len(LETTERS):
            found.append(f"kind: at most {len(LETTERS)} labels can be lettered; use 'choice'")
        if len(self.labels) == 1 or len(set(self.labels)) < len(self.labels):
            found.append("labels: at least two are required, all different")
        values = self.example.target_values
        if values is None and any(label.strip().isdigit() for label in self.labels):
            found.append(
                "example.target_values: required, because labels that are numbers are ambiguous"
            )
        if isinstance(values, list) and self.labels and len(values) != len(self.labels):
            found.append(
                f"example.target_values: {len(values)} values for {len(self.labels)} labels"
            )
        return found

    def _split_mistakes(self) -> list[str]:
        found = []
        source = self.source
        if not (source.files or source.folders or source.package or source.hub):
            found.append("source: one of files, folders, package or hub is required")
        if self.carve.val + self.carve.test >= 1:
            found.append("carve: val and test must sum to less than 1")
        for name in ("val", "test"):
            share = getattr(self.carve, name)
            if name in self.splits and share:
                found.append(f"carve.{name}: not allowed together with splits.{name}")
            if name not in self.splits and not share:
                found.append(
                    f"splits.{name}: missing; name a split of the source or set carve.{name}"
                )
        if "train" not in self.splits and (self.carve.val or self.carve.test):
            found.append("splits.train: required, because carve takes rows from it")
        if source.files is not None:
            for split in sorted(set(self.splits.values()) - set(source.files)):
                found.append(
                    f"splits: '{split}' is not in source.files ({', '.join(source.files)})"
                )
        return found
