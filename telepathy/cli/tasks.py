"""`latentwire tasks`: list the tasks, show the prompts of an example, check a task file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latentwire.core.errors import DataError, UsageError
from telepathy.cli.options import JsonOption, PairOption, SenderPromptOption, SettingOption
from telepathy.reporting.numbers import percent
from telepathy.reporting.table import Column, Table, print_wrapped
from telepathy.reporting.text import print_json

if TYPE_CHECKING:
    from latentwire.data import TaskRow

app = typer.Typer(
    invoke_without_command=True, help="List tasks, show the prompts of one, or check a task file."
)


@app.callback()
def tasks(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the tasks with their metric, chance level, split sizes and data source.

    Tasks whose data is missing show where it can be downloaded.
    """
    if context.invoked_subcommand:
        return
    from latentwire.data import task_table

    rows = task_table()
    if as_json:
        print_json({"tasks": [asdict(row) for row in rows]})
        return
    _table(rows).print()
    if not all(row.found for row in rows):
        print_wrapped(
            "Data on the hub is downloaded on first use. To use local files, put <split>.jsonl, "
            ".parquet or .csv with the hub's field names into $LATENTWIRE_DATA/<task>/."
        )


def _table(rows: list[TaskRow]) -> Table:
    words = [Column("task", left=True), Column("kind", left=True), Column("metric", left=True)]
    sizes = [Column(title) for title in ("chance", "train", "val", "test")]
    table = Table([*words, *sizes, Column("data", left=True, wraps=True)], "Tasks")
    for row in rows:
        table.add(
            row.name,
            row.kind,
            row.metric,
            percent(row.chance) if row.chance else "",
            *("" if n is None else f"{n:,}" for n in row.sizes.values()),
            row.source if row.found or not row.hub else f"hub: {row.hub}",
        )
    return table


@app.command()
def show(
    task: Annotated[str, typer.Argument(help="Task name or YAML file.")],
    example: Annotated[
        int, typer.Option(min=0, help="Index of the example in the split, from 0.")
    ] = 0,
    split: Annotated[str, typer.Option(help="Split of the example: train, val or test.")] = "test",
    sender_prompt: SenderPromptOption = "raw",
    setting: SettingOption = None,
    pair: PairOption = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=8, help="Maximum text length in tokens. By default the task's limit."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the exact prompts of the sender and the receiver for one example."""
    found = _prompts(task, example, split, sender_prompt, setting, pair, max_tokens)
    if as_json:
        print_json(found)
        return
    for key in ("task", "id", "setting", "sender_prompt", "choices", "references"):
        print(f"{key.replace('_', ' ')}: {found[key]}")
    for title in ("sender reads", "receiver reads", "a text method reads"):
        part = found[title]
        cut = ", truncated" if part.get("cut") else ""
        print(f"\n─── {title} ({part['model']}, {part['n_tokens']} tokens{cut}) ───")
        print(part["text"])


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="YAML file of the task.")],
    as_json: JsonOption = False,
) -> None:
    """List every mistake in a task file and its data; exit with 1 if there is one."""
    from latentwire.data import check_task

    mistakes = check_task(path)
    if as_json:
        print_json({"path": str(path), "mistakes": mistakes})
    else:
        for mistake in mistakes:
            print(mistake)
        n = len(mistakes)
        print(f"{path}: {n} mistake{'' if n == 1 else 's'}" if n else f"{path}: no mistakes")
    if mistakes:
        raise typer.Exit(1)


def _prompts(
    name: str,
    index: int,
    split: str,
    sender_prompt: str,
    setting: str | None,
    pair: str | None,
    max_tokens: int | None,
) -> dict[str, Any]:
    from latentwire.data import load_task
    from latentwire.models.loading import load_pair
    from latentwire.prompting.builder import PromptBuilder, sender_texts

    task = load_task(name)
    examples = task.split(split)  # type: ignore[arg-type]
    if not len(examples):
        raise DataError(f"Task '{task.name}' has no {split} examples.")
    if index >= len(examples):
        raise UsageError(
            f"--example is {index}; '{task.name}' has {split} examples 0 to {len(examples) - 1}."
        )
    example = examples[index]
    sender, receiver = load_pair(None, None, pair=pair)
    asked = task.setting(setting)  # type: ignore[arg-type]
    (read,), (cut,) = sender_texts(task, sender, [example], sender_prompt, max_tokens, asked)
    handed = PromptBuilder(task, receiver, task.handoff_prompts(asked)[0], max_tokens, asked)
    builder = PromptBuilder(task, receiver, task.prompts[0], max_tokens, asked)
    soft, text = handed.build_handoff(example)[0].prompt, builder.build(example)[0].prompt
    around = (
        receiver.tokenizer.decode(list(soft.before)),
        receiver.tokenizer.decode(list(soft.after)),
    )
    return {
        "task": task.name,
        "id": example.id,
        "setting": asked,
        "sender_prompt": sender_prompt,
        "choices": list(task.answers(example)),
        "references": list(example.references),
        "sender reads": {
            "model": sender.name,
            "text": read,
            "n_tokens": len(sender.token_ids(read, special=True)),
            "cut": cut,
        },
        "receiver reads": {
            "model": receiver.name,
            "text": f"{around[0]}[soft tokens]{around[1]}",
            "n_tokens": len(soft.before) + len(soft.after),
        },
        "a text method reads": {
            "model": receiver.name,
            "text": receiver.tokenizer.decode(list(text.before)),
            "n_tokens": len(text.before),
            "cut": builder.cut(example)[1],
        },
    }
