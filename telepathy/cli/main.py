"""The `latentwire` command: results go to stdout, progress and errors to stderr."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from latentwire.core.errors import InterruptedRunError, UnknownNameError, UsageError
from latentwire.core.progress import default_progress
from telepathy.cli.baselines import baselines
from telepathy.cli.bench import app as bench_app
from telepathy.cli.errors import STOPPED, guarded
from telepathy.cli.options import (
    CodecOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    LimitOption,
    PairOption,
    ReceiverOption,
    SenderOption,
    SenderPromptOption,
    SettingOption,
)
from telepathy.cli.runs import app as runs_app
from telepathy.cli.submit import submit
from telepathy.cli.tasks import app as tasks_app
from telepathy.cli.train import train
from telepathy.reporting.tables import print_json


class _Commands(TyperGroup):
    """Commands that Ctrl-C ends with a word on how to go on; typer alone says nothing."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise InterruptedRunError(STOPPED) from stop


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="One language model hands what it has read to another, without writing text.",
)
app.add_typer(tasks_app, name="tasks")
app.add_typer(runs_app, name="runs")
app.add_typer(bench_app, name="bench")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Run folder.")] = Path("runs/demo"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Start again.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train and evaluate a bridge between two small real models: under ten minutes."""
    from telepathy.cli.demo import run_demo

    found = run_demo(out, default_progress(), fresh=fresh)
    show_results(found, as_json)


app.command()(train)
app.command()(baselines)
app.command()(submit)


@app.command("eval")
def evaluate_command(
    run: Annotated[Path | None, typer.Option("--run", help="Folder of a trained run.")] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="Only this method; repeatable.")
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Task; the run's own by default.")
    ] = None,
    pair: PairOption = None,
    sender: SenderOption = None,
    receiver: ReceiverOption = None,
    sender_prompt: SenderPromptOption = "raw",
    setting: SettingOption = None,
    codec: CodecOption = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    limit: LimitOption = None,
    relay_limit: Annotated[
        int | None, typer.Option(min=1, help="The same for the text relay only.")
    ] = None,
    prompt_val_limit: Annotated[
        int, typer.Option(min=1, help="Val examples on which prompts are chosen.")
    ] = 64,
    controls: Annotated[bool, typer.Option(help="Run the controls too.")] = True,
    timed: Annotated[int, typer.Option(min=0, help="Examples to time; 0: none.")] = 8,
    seed: Annotated[int, typer.Option(help="Of samples and controls.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where results are written; a whole evaluation: the run."),
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Evaluate a bridge beside controls and baselines, or baselines alone, on a whole split."""
    from latentwire import Wire, evaluate, load_task
    from latentwire.eval.context import METHODS, no_bridge
    from latentwire.models.loading import load_pair
    from latentwire.wire.codecs import CODECS

    for name in method or []:
        if METHODS.get(name).needs_wire and run is None:
            raise no_bridge(f"Method '{name}'")
    if codec is not None and codec not in CODECS:
        raise UnknownNameError.of("codec", codec, CODECS)
    if codec is not None and run is None:
        raise no_bridge("A codec")
    if run is None and task is None:
        raise UsageError("Give --run (a trained run) or --task and --method (baselines alone).")
    loaded = load_task(task) if task else None
    progress = default_progress()
    if run is not None:
        if pair or sender_prompt != "raw":
            raise UsageError(
                "--pair and --sender-prompt go without --run: a run knows its pair and how its "
                "sender is asked."
            )
        wire: Any = Wire.from_pretrained(
            run, sender=sender, receiver=receiver, device=device, dtype=dtype, progress=progress
        )
        loaded = loaded or wire.task
        if loaded is None:
            raise UsageError(f"The bridge in {run} was never trained on a task: give --task.")
    else:
        wire = load_pair(sender, receiver, pair=pair, device=device, dtype=dtype, progress=progress)
    assert loaded is not None
    partial = bool(method or limit or task or codec or not controls or split != "test")
    results = evaluate(
        wire,
        loaded,
        methods=method,
        setting=setting,  # type: ignore[arg-type]
        sender_prompt=sender_prompt,
        codec=codec,
        controls=controls,
        split=split,  # type: ignore[arg-type]
        limit=limit,
        relay_limit=relay_limit,
        prompt_val_limit=prompt_val_limit,
        timed=timed,
        seed=seed,
        # A partial evaluation does not replace the whole one that the run folder may hold.
        out_dir=out or (None if partial else run),
        progress=progress,
    )
    show_results(results.to_json(), as_json)


@app.command()
def bridges(pair: PairOption = None, as_json: JsonOption = False) -> None:
    """List the kinds of bridge, their size for a pair, and their sources."""
    from telepathy.cli.bridges import list_bridges

    list_bridges(pair, as_json)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine has: device, versions, embedded models, data, caches."""
    from telepathy.cli.doctor import examine, show

    found = examine()
    if as_json:
        print_json(found)
    else:
        show(found)


def main() -> None:
    """Entry point."""
    guarded(app)


def show_results(found: dict[str, Any], as_json: bool) -> None:
    """Print results as a table with their meaning, or as one JSON object."""
    if as_json:
        print_json(found)
        return
    from telepathy.reporting.checks import check_sentence, is_weak
    from telepathy.reporting.tables import meaning, results_table, stdout_console

    console = stdout_console()
    console.print(results_table(found))
    for note in found["notes"]:
        console.print(f"note: {note}", soft_wrap=True)
    if "bridge" in found["methods"]:
        console.print()
        weak = [check_sentence(check) for check in found["checks"] if is_weak(check)]
        for sentence in (*meaning(found), *weak):
            console.print(sentence)
    if found.get("run"):
        console.print(f"\nFiles: {found['run']}")


if __name__ == "__main__":
    main()
