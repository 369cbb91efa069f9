"""Options that several commands share, and the parsing of their values."""

from __future__ import annotations

from typing import Annotated

import typer

from latentwire.core.errors import UsageError
from telepathy.cli.config_options import describe, group_of

PairOption = Annotated[
    str | None,
    typer.Option("--pair", help=describe("pair.name"), rich_help_panel=group_of("pair.name")),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        help=describe("pair.device", with_default=False),
        rich_help_panel=group_of("pair.device"),
    ),
]
DtypeOption = Annotated[
    str,
    typer.Option(
        "--dtype",
        help=describe("pair.dtype", with_default=False),
        rich_help_panel=group_of("pair.dtype"),
    ),
]
SettingOption = Annotated[
    str | None,
    typer.Option(
        "--setting", help=describe("task.setting"), rich_help_panel=group_of("task.setting")
    ),
]
SenderPromptOption = Annotated[
    str,
    typer.Option(
        "--sender-prompt",
        help=describe("wire.sender_prompt", with_default=False),
        rich_help_panel=group_of("wire.sender_prompt"),
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit", min=1, help=describe("eval.limit"), rich_help_panel=group_of("eval.limit")
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object instead of text.", rich_help_panel="Output"),
]


def parse_numbers(text: str, flag: str, minimum: int | None = None) -> list[int]:
    """Parse comma-separated whole numbers: `1,16` -> [1, 16].

    Raises: UsageError: If one is not a whole number or is below the minimum.
    """
    try:
        found = [int(each) for each in text.split(",")]
    except ValueError:
        found = []
    if not found or (minimum is not None and min(found) < minimum):
        allowed = "whole numbers" if minimum is None else f"whole numbers >= {minimum}"
        raise UsageError(f"{flag} is '{text}'; give comma-separated {allowed}, e.g. 1,2.")
    return found


def parse_seeds(text: str) -> list[int]:
    """Parse the value of `--seeds`. Raises: UsageError: If one is not a whole number."""
    return parse_numbers(text, "--seeds")
