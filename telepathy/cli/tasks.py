"""`latentwire tasks`: list the tasks, show what each model would read, check a user's own file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from latentwire.core.errors import DataError, UsageError
from telepathy.reporting.tables import print_json, stdout_console

app = typer.Typer(invoke_without_command=True, help="List tasks, show one, check your own.")
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.callback()
def tasks(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the tasks: splits, metric, chance, and where the data is or how to get it."""
    if context.invoked_subcommand:
        return
    from latentwire.data import task_table

    rows = task_table()
    if as_json:
        print_json({"tasks": [asdict(row) for row in rows]})
        return
    table = Table(title="Tasks", title_justify="left")
    for column in ("task", "kind", "metric"):
        table.add_column(
            column, no_wrap=True, min_width={"task": 15, "kind": 10, "metric": 12}[column]
        )
    for column in ("chance", "train", "val", "test"):
        table.add_column(column, justify="right", no_wrap=True, min_width=6)
    table.add_column("data", no_wrap=True, max_width=34)
    for row in rows:
        sizes = ["" if n is None else f"{n:,}" for n in row.sizes.values()]
        chance = "" if not row.chance else f"{100 * row.chance:.1f} %"
        away = f"hub: {row.hub}" if row.hub else row.source
        where = escape(row.source) if row.found else f"[dim]{escape(away)}[/dim]"
        table.add_row(row.name, row.kind, row.metric, chance, *sizes, where)
    console = stdout_console()
    console.print(table)
    if not all(row.found for row in rows):
        console.print(
            "Data on the hub is fetched on first use. Or put its files, named as its splits, with "
            "its field names,\ninto $LATENTWIRE_DATA/<task>/; `tasks show TASK` says more."
        )


@app.command()
def show(
    task: Annotated[str, typer.Argument(help="Task name or YAML file.")],
    example: Annotated[int, typer.Option(min=0, help="Number of the example.")] = 0,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    sender_prompt: Annotated[
        str, typer.Option(help="raw: the text alone; aware: text and task.")
    ] = "raw",
    setting: Annotated[
        str | None, typer.Option(help="blind, shared or split; default: the task's.")
    ] = None,
    pair: Annotated[str | None, typer.Option(help="Preset of models.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=8, help="Token limit.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print exactly what the sender and the receiver would read for one example."""
    found = _reading(task, example, split, sender_prompt, setting, pair, max_tokens)
    if as_json:
        print_json(found)
        return
    console = stdout_console()
    head = {
        k: found[k] for k in ("task", "id", "setting", "sender_prompt", "choices", "references")
    }
    console.print("  ".join(f"{k}: {v}" for k, v in head.items()), markup=False, soft_wrap=True)
    for title in ("sender reads", "receiver reads", "a text method reads"):
        part = found[title]
        cut = ", cut to the limit" if part.get("cut") else ""
        console.rule(f"{title} ({part['model']}, {part['n_tokens']} tokens{cut})", align="left")
        console.print(part["text"], markup=False, soft_wrap=True)


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A task's YAML file.")],
    as_json: JsonOption = False,
) -> None:
    """Explain every mistake in a task file and its data at once; exit 1 if there is one."""
    from latentwire.data import check_task

    mistakes = check_task(path)
    if as_json:
        print_json({"path": str(path), "mistakes": mistakes})
    else:
        for mistake in mistakes:
            print(mistake)
        print(f"{path}: {len(mistakes)} mistake(s)" if mistakes else f"{path}: right")
    if mistakes:
        raise typer.Exit(1)


def _reading(
    name: str,
    number: int,
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
    if number >= len(examples):
        raise UsageError(f"'{task.name}' has {len(examples)} {split} examples, 0 is the first.")
    if not len(examples):
        raise DataError(f"'{task.name}' has no {split} examples.")
    example = examples[number]
    sender, receiver = load_pair(None, None, pair=pair)
    asked = task.setting(setting)  # type: ignore[arg-type]
    (read,), (cut,) = sender_texts(task, sender, [example], sender_prompt, max_tokens, asked)
    handed = PromptBuilder(task, receiver, task.handed_prompts(asked)[0], max_tokens, asked)
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
