"""Task: a checked YAML file and its examples, read when they are first asked for."""

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
from latentwire.data.templates import LETTERS, fill, list_choices, places


class Split(Sequence[Example]):
    """Examples of one split, built one at a time from their rows.

    Args:
        rows: The source split that holds them.
        indices: Which of the rows, in the order of the examples.
        build: Turns a row into an example.
        source_split: Name of the source split, the stem of default ids.
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
    def __getitem__(self, place: int) -> Example: ...

    @overload
    def __getitem__(self, place: slice) -> list[Example]: ...

    def __getitem__(self, place: int | slice) -> Example | list[Example]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        index = int(self._indices[place])
        return self._build(self._rows[index], f"{self._source_split}-{index}")

    def __iter__(self) -> Iterator[Example]:
        return (self[i] for i in range(len(self)))


class Task:
    """A task: how its items are asked and scored, and the items themselves.

    Args:
        spec: The checked content of the task's YAML file.
        base: Folder that the file paths in the YAML are relative to.
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
        """Examples of `train`, `val` or `test`, read from disk one by one.

        Raises:
            UnknownNameError: If there is no split of that name.
            DataError: If its data cannot be found, read or trusted.
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

        With the same seed, a smaller sample is the first part of a larger one.

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
        # RandomState: numpy keeps its stream the same for ever, a Generator's may change.
        order = np.random.RandomState(seed).permutation(len(examples))
        return [examples[int(i)] for i in order[:limit]]

    def notes(self) -> list[str]:
        """What was loaded so far: the source, missing rows, dropped rows, carved splits."""
        sizes = [note for note in self._size_notes.values() if note]
        return [f"read from {self._source.description}", *sizes, *self._splitter.notes]

    @property
    def asks(self) -> bool:
        """Whether items have a question of their own beside the context (boolq, squad)."""
        return "question" in places(self.prompts[0])

    def setting(self, name: Setting | None = None) -> Setting:
        """Which part of an item the sender reads and which the receiver is asked.

        Args:
            name: `blind`: the sender reads all, the receiver sees the message alone; `shared`:
                both read all; `split`: the context to the sender, the question to the receiver.
                By default `split` for tasks whose items have a question, else `blind`.
        Raises: UsageError: If the task has no such setting.
        """
        if name is None:
            return "split" if self.asks else "blind"
        if name not in SETTINGS:
            raise UnknownNameError.of("setting", name, SETTINGS)
        if name == "split" and not self.asks:
            raise UsageError(
                f"Setting 'split' gives the context to the sender and the question to the "
                f"receiver; the items of '{self.name}' have no question of their own. "
                "Use blind or shared."
            )
        return name

    @property
    def reader_prompts(self) -> tuple[str, ...]:
        """Candidate prompts of a model that reads the text itself."""
        more = (self.harness_prompt,) if self.harness_prompt else ()
        return tuple(dict.fromkeys((*self.prompts, *more)))

    def handed_prompts(self, setting: Setting) -> tuple[str, ...]:
        """Candidate prompts of a model that is handed something in place of the context."""
        return self.blind_prompts if setting == "blind" and self.asks else self.prompts

    @cached_property
    def chance(self) -> float:
        """Expected score of a uniform guess on test; 0 for generation."""
        known = self.chance_without_data
        if known is not None:
            return known
        return float(np.mean([1 / len(example.choices) for example in self.split("test")]))

    @property
    def chance_without_data(self) -> float | None:
        """`chance` if the YAML alone tells it, None if items differ in their choices."""
        if self.kind == "generation":
            return 0.0
        choices = self.spec.labels or self.spec.example.choices
        return 1 / len(choices) if isinstance(choices, list) else None

    @cached_property
    def majority(self) -> float:
        """Score on test of always giving its most common target; 0 for generation."""
        if self.kind == "generation":
            return 0.0
        targets = Counter(example.target for example in self.split("test"))
        return targets.most_common(1)[0][1] / targets.total()

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the YAML's content and of the data of all splits found here."""
        digests = {split: self._source.digest(split) for split in self._source.available()}
        return fingerprint(self.spec.model_dump(mode="json"), digests)

    def answers(self, example: Example) -> tuple[str, ...]:
        """What is scored for each choice: its text, or its letter for kind `letter`."""
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
        """Fill the places of a template; `{choices}` are lettered, one a line.

        Braces inside the texts are never read as places.
        """
        values = {
            "context": context,
            "question": question,
            "labels": ", ".join(self.labels or choices),
            "filled": filled,
        }
        if len(choices) <= len(LETTERS):  # 77 intents have no letters
            values["choices"] = list_choices(choices)
        return fill(template, lambda place: values.get(place, f"{{{place}}}"))

    def where(self) -> tuple[bool, str]:
        """Whether the data is on this machine, and where it is or how to get it.

        Raises: DataError: If files that the task names are missing.
        """
        try:
            source = self._source
        except MissingPackageError:
            return False, how_to_get(self.spec)
        if isinstance(source, HubSource):
            return False, how_to_get(self.spec)
        return True, source.description

    def sizes(self) -> dict[SplitName, int | None]:
        """Number of examples per split; None where the source does not have the split."""
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
