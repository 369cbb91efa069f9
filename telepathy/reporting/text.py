"""Plain-text output for terminals of 80 columns, and JSON for programs. Imports nothing heavy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

WIDTH = 80


@dataclass(frozen=True)
class View:
    """Output of a command.

    Args:
        data: JSON object, printed with `--json`.
        lines: Text for a terminal.
        exit_code: Exit code of the command.
    """

    data: dict[str, Any]
    lines: list[str]
    exit_code: int = 0


def print_view(view: View, as_json: bool) -> None:
    """Print the output of a command and exit with its code unless that is 0."""
    if as_json:
        print_json(view.data)
    else:
        print("\n".join(view.lines))
    if view.exit_code:
        raise SystemExit(view.exit_code)


def print_json(value: dict[str, Any]) -> None:
    """Print exactly one JSON object on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def cut(line: str) -> str:
    """Truncate a line to the terminal width."""
    line = line.rstrip()
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
