"""Task: a validated YAML file and its examples, which are read on first use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, overload

import numpy as np

from latentwire.core.errors import DataError, MissingPackageError, UnknownNameError, UsageError
from latentwire.core.files import fingerprint
from latentwire.data.build import ExampleBuilder
from latentwire.data.example import Example
from latentwire.data.rows import Rows
from latentwire.data.sources import HubSource, Source, find_source, how_to_get, size_note
from latentwire.data.spec import SETTINGS, SPLITS, Kind, Setting, SplitName, TaskSpec
from latentwire.data.splits import Indices, Scan, Splitter, scan
from latentwire.data.templates import LETTERS, fill, list_choices, placeholders


class Split(Sequence[Example]):
    """Examples of one split, each built from its row on access.

    Args:
        rows: Rows of the source split.
        indices: Row index of each example.
        build: Builds an example from a row.
        source_split: Name of the source split, used in default ids.
    """

    def __init__(
        self, rows: Rows, indices: Indices, build: ExampleBuilder, source_split: str
    ) -> None:
        self._rows = rows
        self._indices = indices
        self._build = build
        self._source_split = source_split

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...

    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = int(self._indices[index])
        return self._build(self._rows[row], f"{self._source_split}-{row}")

    def __iter__(self) -> Iterator[Example]:
        return (self[i] for i in range(len(self)))


class Task:
    """A task: prompts, scoring and examples.

    Args:
        spec: Validated content of the task's YAML file.
        base: Folder to which file paths in the YAML file are relative.
    """

    def __init__(self, spec: TaskSpec, base: Path | None = None) -> None:
        self.spec = spec
        self.name: str = spec.name
        self.version: int = spec.version
        self.kind: Kind = spec.kind
        self.metric: str = spec.metric
        self.labels: tuple[str, ...] = tuple(spec.labels)
        self.prompts: tuple[str, ...] = tuple(spec.prompts)
        self.relay_prompts: tuple[str, ...] = tuple(spec.relay_prompts)
        self.sender_prompt_aware: str = spec.sender_prompt_aware
        self.harness_prompt: str = spec.harness_prompt
        self.whole: str = spec.whole
        self.blind_prompts: tuple[str, ...] = tuple(spec.blind_prompts)
        self.max_context_tokens: int = spec.max_context_tokens
        self.max_new_tokens: int = spec.max_new_tokens
        self.stop: tuple[str, ...] = tuple(spec.stop)
        self.base = base
        self._build = ExampleBuilder(spec)
        self._scans: dict[str, Scan] = {}
        self._size_notes: dict[str, str] = {}

    def split(self, name: Literal["train", "val", "test"]) -> Sequence[Example]:
        """Return the examples of `train`, `val` or `test`, which are read on access.

        Raises:
            UnknownNameError: If there is no split of that name.
            DataError: If its data cannot be found or read, or is invalid.
            MissingPackageError: If its data is in a package that is not installed.
        """
        if name not in SPLITS:
            raise UnknownNameError.of("split", name, SPLITS)
        indices = self._splitter.indices(name)
        source_split = self._splitter.source_split(name)
        return Split(self._source.rows(source_split), indices, self._build, source_split)

    def sample(
        self, split: Literal["train", "val", "test"], limit: int | None, seed: int
    ) -> list[Example]:
        """Draw a seeded random sample of a split.

        With the same seed, a smaller sample is the beginning of a larger one.

        Args:
            split: Name of the split.
            limit: Maximum number of examples, >= 1; None returns the whole split in its own order.
            seed: Random seed.
        Raises: UsageError: If `limit` is less than 1.
        """
        if limit is None:
            return list(self.split(split))
        if limit < 1:
            raise UsageError(f"limit must be 1 or more, not {limit}.")
        examples = self.split(split)
        # NumPy guarantees a stable stream for RandomState, but not for Generator.
        order = np.random.RandomState(seed).permutation(len(examples))
        return [examples[int(i)] for i in order[:limit]]

    def notes(self) -> list[str]:
        """Return notes on the data read so far, such as its source and dropped rows."""
        sizes = [note for note in self._size_notes.values() if note]
        return [f"read from {self._source.description}", *sizes, *self._splitter.notes]

    @property
    def has_questions(self) -> bool:
        """Whether each item has a question in addition to its context (boolq, squad)."""
        return "question" in placeholders(self.prompts[0])

    def setting(self, name: Setting | None = None) -> Setting:
        """Return the setting: which parts of an item the sender and the receiver read.

        Args:
            name: `blind`: the sender reads everything, the receiver only the message; `shared`:
                both read everything; `split`: the sender reads the context, the receiver the
                question. Default: `split` for tasks with questions, else `blind`.
        Raises: UsageError: If the task does not support the setting.
        """
        if name is None:
            return "split" if self.has_questions else "blind"
        if name not in SETTINGS:
            raise UnknownNameError.of("setting", name, SETTINGS)
        if name == "split" and not self.has_questions:
            raise UsageError(
                f"Task '{self.name}' does not support the setting 'split', because its items "
                "have no separate question. Use blind or shared."
            )
        return name

    @property
    def reader_prompts(self) -> tuple[str, ...]:
        """Candidate prompts for a model that reads the text."""
        more = (self.harness_prompt,) if self.harness_prompt else ()
        return tuple(dict.fromkeys((*self.prompts, *more)))

    def handoff_prompts(self, setting: Setting) -> tuple[str, ...]:
        """Return candidate prompts for a model that reads a hand-off instead of the context."""
        return self.blind_prompts if setting == "blind" and self.has_questions else self.prompts

    @cached_property
    def chance(self) -> float:
        """Expected score of a uniform guess on test, 0..1; 0 for generation."""
        known = self.chance_without_data
        if known is not None:
            return known
        return float(np.mean([1 / len(example.choices) for example in self.split("test")]))

    @property
    def chance_without_data(self) -> float | None:
        """`chance` if the task file determines it, None if it depends on the items."""
        if self.kind == "generation":
            return 0.0
        choices = self.spec.labels or self.spec.example.choices
        return 1 / len(choices) if isinstance(choices, list) else None

    @cached_property
    def majority(self) -> float:
        """Majority-class accuracy on test, 0..1; 0 for generation."""
        if self.kind == "generation":
            return 0.0
        targets = Counter(example.target for example in self.split("test"))
        return targets.most_common(1)[0][1] / targets.total()

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the YAML file and of the data of all available splits."""
        digests = {split: self._source.digest(split) for split in self._source.available()}
        return fingerprint(self.spec.model_dump(mode="json"), digests)

    def answers(self, example: Example) -> tuple[str, ...]:
        """Return the text to score for each choice: the choice, or its letter for kind `letter`."""
        if self.kind == "letter":
            return tuple(LETTERS[: len(example.choices)])
        return example.choices

    def render(
        self,
        template: str,
        context: str,
        question: str,
        choices: Sequence[str],
        filled: str = "",
    ) -> str:
        """Fill in a template. `{choices}` becomes a list with one lettered choice per line.

        Braces in the inserted texts are not treated as placeholders.

        Args:
            template: Prompt template of the task.
            context: Text for `{context}`.
            question: Text for `{question}`.
            choices: Choices for `{choices}`, and for `{labels}` if the task has no labels.
            filled: Text for `{filled}`.
        """
        values = {
            "context": context,
            "question": question,
            "labels": ", ".join(self.labels or choices),
            "filled": filled,
        }
        if len(choices) <= len(LETTERS):
            values["choices"] = list_choices(choices)
        return fill(template, lambda name: values.get(name, f"{{{name}}}"))

    def where(self) -> tuple[bool, str]:
        """Return whether the data is on this machine, and where it is or how to get it.

        Raises: DataError: If a file in `source.files` does not exist.
        """
        try:
            source = self._source
        except MissingPackageError:
            return False, how_to_get(self.spec)
        if isinstance(source, HubSource):
            return False, how_to_get(self.spec)
        return True, source.description

    def sizes(self) -> dict[SplitName, int | None]:
        """Return the number of examples per split; None if the source does not have the split."""
        available = self._source.available()
        return {
            name: len(self.split(name)) if self._splitter.source_split(name) in available else None
            for name in SPLITS
        }

    @cached_property
    def _source(self) -> Source:
        return find_source(self.spec, self.base)

    @cached_property
    def _splitter(self) -> Splitter:
        return Splitter(self.spec, self._scan, self._source.available())

    def _scan(self, split: str) -> Scan:
        if split not in self._scans:
            rows = self._rows(split)
            self._size_notes[split] = size_note(self.spec.source, split, len(rows))
            self._scans[split] = scan(self.spec, self._build, rows, split)
        return self._scans[split]

    def _rows(self, split: str) -> Rows:
        available = self._source.available()
        if split not in available:
            raise DataError(
                f"Task '{self.name}' has no {split} rows in {self._source.description}, "
                f"which has {', '.join(available)}. {how_to_get(self.spec)}"
            )
        return self._source.rows(split)


def draw_sample(examples: Sequence[Example], limit: int, seed: int) -> list[Example]:
    """Draw a seeded random sample of at most `limit` examples, kept in their original order."""
    order = np.random.RandomState(seed).permutation(len(examples))[:limit]
    return [examples[i] for i in sorted(order.tolist())]
