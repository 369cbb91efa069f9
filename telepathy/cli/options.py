"""Options that several commands share, and the parsing of their values."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from latentwire.core.errors import UsageError
from telepathy.cli.config_options import describe, group_of


def _option(flag: str, key: str, **limits: Any) -> Any:
    """Option with the help text and the group of a field of `ExperimentConfig`."""
    text = describe(key, with_default=False)
    return typer.Option(flag, help=text, rich_help_panel=group_of(key), **limits)


PairOption = Annotated[str | None, _option("--pair", "pair.name")]
DeviceOption = Annotated[str, _option("--device", "pair.device")]
DtypeOption = Annotated[str, _option("--dtype", "pair.dtype")]
SettingOption = Annotated[str | None, _option("--setting", "task.setting")]
SenderPromptOption = Annotated[str, _option("--sender-prompt", "wire.sender_prompt")]
LimitOption = Annotated[int | None, _option("--limit", "eval.limit", min=1)]
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
