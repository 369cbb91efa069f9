"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from latentwire.core.errors import UsageError

if TYPE_CHECKING:
    from latentwire.train.trackers import Trackers

PairOption = Annotated[
    str | None, typer.Option("--pair", help="Preset: embedded (default), paper, fake.")
]
SenderOption = Annotated[
    str | None, typer.Option("--sender", help="Embedded name, folder, .gguf or hub id.")
]
ReceiverOption = Annotated[str | None, typer.Option("--receiver", help="As --sender.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N, mps.")]
DtypeOption = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16, float16.")]
SettingOption = Annotated[
    str | None,
    typer.Option(
        "--setting",
        help="blind: the sender reads all, the receiver sees the message alone; shared: both "
        "read all; split: text to the sender, question to the receiver. Default: the task's.",
    ),
]
SenderPromptOption = Annotated[
    str,
    typer.Option(
        "--sender-prompt", help="raw: the sender reads the text alone; aware: text and task."
    ),
]
CodecOption = Annotated[
    str | None,
    typer.Option(
        "--codec",
        help="How messages are written: fp32, fp16, bf16, int8, int4, lowrank. Default: the run's.",
    ),
]
LogToOption = Annotated[
    str | None,
    typer.Option(
        "--log-to",
        help="Send numbers of trainings there, too: mlflow, tensorboard, trackio, wandb; several "
        "joined by commas. Default: nowhere.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, help="A seeded random sample, not all.")
]


def numbers(text: str, flag: str, least: int | None = None) -> list[int]:
    """`1,16` -> [1, 16]. Raises: UsageError: If these are no whole numbers, or one is too small."""
    try:
        found = [int(each) for each in text.split(",")]
    except ValueError:
        found = []
    if not found or (least is not None and min(found) < least):
        wants = "whole numbers" if least is None else f"whole numbers from {least},"
        raise UsageError(f"{flag} wants {wants} joined by commas, not '{text}'.")
    return found


def seeds_of(text: str) -> list[int]:
    """`0,1,2` -> [0, 1, 2]. Raises: UsageError: If these are no whole numbers."""
    return numbers(text, "--seeds")


def trackers_of(text: str | None) -> Trackers:
    """`mlflow,wandb` -> these trackers. Raises: UnknownNameError, MissingPackageError."""
    from latentwire.train.trackers import Trackers

    return Trackers.of(name for name in (text or "").split(",") if name.strip())
