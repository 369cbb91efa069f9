"""Build examples from rows: templates, label mapping, lettered choices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from latentwire.core.errors import DataError
from latentwire.data.example import Example
from latentwire.data.prepare import PREPARE
from latentwire.data.rows import Row
from latentwire.data.spec import TaskSpec
from latentwire.data.templates import LETTERS, field, fill, list_choices


class ExampleBuilder:
    """Builds the examples of a task from rows."""

    def __init__(self, spec: TaskSpec) -> None:
        self._spec = spec.example
        self._labels = tuple(spec.labels)
        self._generation = spec.kind == "generation"
        self._prepare = PREPARE[self._spec.prepare] if self._spec.prepare else None
        self._remove = re.compile(self._spec.remove) if self._spec.remove else None

    def prepare(self, row: Row) -> Row:
        """Return the row with the fields that the task's `example.prepare` adds."""
        return self._prepare(row) if self._prepare else row

    def __call__(self, row: Row, default_id: str) -> Example:
        """Build the example of one row.

        Args:
            row: Fields of the data set.
            default_id: Id of the example if the task file defines no `example.id`.
        Raises: DataError: If a field is missing or the label is not an allowed value.
        """
        try:
            return self._build(self.prepare(row), default_id)
        except DataError as error:
            raise DataError(f"{default_id}: {error}") from None

    def _build(self, row: Row, default_id: str) -> Example:
        spec = self._spec
        choices = self._choices(row)

        def text(template: str) -> str:
            return fill(template, lambda name: _value(name, row, choices))

        target = None if self._generation else self._target(row, choices)
        references = self._references(row) if target is None else (choices[target],)
        context = self._clean(text(spec.context))
        protected = self._clean(text(spec.protected))
        if not context.endswith(protected):
            raise DataError("the text of example.protected is not the end of example.context")
        return Example(
            id=text(spec.id) if spec.id else default_id,
            context=context,
            question=self._clean(text(spec.question)),
            choices=choices,
            target=target,
            references=references,
            protected=protected,
            contexts=tuple(text(template) for template in spec.contexts),
            continuation=text(spec.continuation),
        )

    def _choices(self, row: Row) -> tuple[str, ...]:
        wanted = self._spec.choices
        if wanted is None:
            return self._labels
        if isinstance(wanted, str):
            values = _texts(field(row, wanted), wanted)
        else:
            values = tuple(
                fill(template, lambda place: str(field(row, place))) for template in wanted
            )
        if not 2 <= len(values) <= len(LETTERS):
            raise DataError(f"{len(values)} choices, but 2 to {len(LETTERS)} are allowed")
        return tuple(value.strip() for value in values)

    def _target(self, row: Row, choices: Sequence[str]) -> int:
        path = self._spec.target or ""
        given = as_text(field(row, path))
        values = self._spec.target_values
        if isinstance(values, str):
            allowed = [as_text(value) for value in _texts(field(row, values), values)]
        elif values is not None:
            allowed = [as_text(value) for value in values]
        else:
            allowed = [str(i) for i in range(len(choices))]
            texts = [as_text(choice) for choice in choices]
            if given in texts and given not in allowed:
                allowed = texts
        if given not in allowed:
            texts_too = "" if values is not None else f" or {', '.join(choices[:9])}"
            raise DataError(
                f"label '{given}' in field '{path}' is not one of {', '.join(allowed)}{texts_too}. "
                "Check that this split has labels."
            )
        if allowed.index(given) >= len(choices):
            raise DataError(f"label '{given}' exceeds the number of choices ({len(choices)})")
        return allowed.index(given)

    def _references(self, row: Row) -> tuple[str, ...]:
        path = self._spec.references or ""
        value = field(row, path)
        texts = (value,) if isinstance(value, str) else _texts(value, path)
        if not texts:
            raise DataError(f"field '{path}' has no reference answer")
        return tuple(dict.fromkeys(text.strip() for text in texts))

    def _clean(self, text: str) -> str:
        if self._remove:
            text = self._remove.sub(" ", text)
        return " ".join(text.split()) if self._spec.fold_space else text.strip()


def _value(name: str, row: Row, choices: Sequence[str]) -> str:
    return list_choices(choices) if name == "lettered" else str(field(row, name))


def _texts(value: Any, path: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise DataError(f"field '{path}' is not a list")
    return tuple(str(item) for item in value)


def as_text(value: Any) -> str:
    """Return a value as lower-case text, so that 1 matches "1": CSV files have only text."""
    return str(value).strip().lower()
