"""Options that several commands share, and the parsing of their values."""

from __future__ import annotations

from typing import Annotated

import typer

from latentwire.core.errors import UsageError

# Titles of the option groups in help texts.
MODELS = "Models"
DATA = "Data"
OUTPUT = "Output"

PairOption = Annotated[
    str | None,
    typer.Option(
        "--pair",
        help="Preset of sender and receiver: embedded, paper or fake. Default: embedded.",
        rich_help_panel=MODELS,
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        help="Device of both models: auto, cpu, cuda, cuda:N or mps.",
        rich_help_panel=MODELS,
    ),
]
DtypeOption = Annotated[
    str,
    typer.Option(
        "--dtype",
        help="Number format of both models: auto, float32, bfloat16 or float16.",
        rich_help_panel=MODELS,
    ),
]
SettingOption = Annotated[
    str | None,
    typer.Option(
        "--setting",
        help="Who reads what. blind: the sender reads everything, the receiver sees only the "
        "message; split: the sender reads the passage, the receiver the question; shared: both "
        "read everything. Default: the task's.",
        rich_help_panel=DATA,
    ),
]
SenderPromptOption = Annotated[
    str,
    typer.Option(
        "--sender-prompt",
        help="Prompt of the sender. raw: the text alone; aware: the text and the task.",
        rich_help_panel=DATA,
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        help="Number of examples, sampled at random with the seed. Default: all.",
        rich_help_panel=DATA,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object instead of text.", rich_help_panel=OUTPUT),
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
