"""Fill `{places}` in a template, safely: what is filled in is never read as a template again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from latentwire.core.errors import DataError

_PLACE = re.compile(r"\{([A-Za-z_][\w.]*)\}")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def places(template: str) -> list[str]:
    """Names of the places in `template`, in order, repeats included."""
    return _PLACE.findall(template)


def fill(template: str, value: Callable[[str], str]) -> str:
    """Replace each `{name}` by `value(name)`. Other braces stay as they are."""
    return _PLACE.sub(lambda match: value(match[1]), template)


def field(row: Mapping[str, Any], path: str) -> Any:
    """Value at a dotted path such as `choices.text`.

    Raises: DataError: If a part is missing or null; the message lists what is there.
    """
    value: Any = row
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            there = (
                ", ".join(sorted(map(str, value))) if isinstance(value, Mapping) else "no fields"
            )
            raise DataError(f"no field '{path}'; the row has {there}")
        value = value[part]
    if value is None:
        raise DataError(f"field '{path}' is null")
    return value


def list_choices(choices: Sequence[str]) -> str:
    """One lettered choice per line: `A. first`, `B. second`."""
    return "\n".join(f"{LETTERS[i]}. {choice}" for i, choice in enumerate(choices))
