"""The `latentwire` command: results go to stdout, progress and errors to stderr."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from latentwire.errors import LatentWireError, UsageError
from latentwire.progress import default_progress
from telepathy.tables import print_json
from telepathy.task_commands import app as tasks_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="One language model hands what it has read to another, without writing text.",
)
app.add_typer(tasks_app, name="tasks")

TaskOption = Annotated[str, typer.Option("--task", help="Task name or YAML file.")]
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
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, help="A seeded random sample, not all.")
]


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Run folder.")] = Path("runs/demo"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Start again.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train and evaluate a bridge between two small real models: under ten minutes."""
    from telepathy.demo import run_demo

    found = run_demo(out, default_progress(), fresh=fresh)
    show_results(found, as_json)


@app.command()
def train(
    task: TaskOption,
    out: Annotated[Path, typer.Option("--out", help="Run folder.")],
    pair: PairOption = None,
    sender: SenderOption = None,
    receiver: ReceiverOption = None,
    bridge: Annotated[str, typer.Option(help="Bridge kind, see `bridges`.")] = "perceiver",
    soft_tokens: Annotated[int, typer.Option(min=1, help="Length of a message.")] = 8,
    layer: Annotated[
        list[int] | None, typer.Option(help="Sender layer; repeat for several.")
    ] = None,
    sender_prompt: SenderPromptOption = "raw",
    setting: SettingOption = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=8, help="Longest text in tokens; default: the task's.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Bridge option, e.g. --set width=256.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples per pass.")] = None,
    grad_accum: Annotated[int | None, typer.Option(help="Passes per step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    warmup_steps: Annotated[int | None, typer.Option(help="Linear warm-up.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of AdamW.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Largest gradient norm.")] = None,
    diversity_weight: Annotated[float | None, typer.Option(help="Keeps soft tokens apart.")] = None,
    train_limit: Annotated[int | None, typer.Option(help="Training examples.")] = None,
    val_limit: Annotated[int | None, typer.Option(help="Validation examples.")] = None,
    eval_every: Annotated[int | None, typer.Option(help="Steps between validations.")] = None,
    save_every: Annotated[int | None, typer.Option(help="Steps between checkpoints.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, order and samples.")] = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a bridge and leave a run folder."""
    from latentwire import TrainConfig, Wire, load_task, train_bridge

    given = {
        "steps": steps,
        "batch_size": batch_size,
        "grad_accum": grad_accum,
        "lr": lr,
        "warmup_steps": warmup_steps,
        "weight_decay": weight_decay,
        "clip_norm": clip_norm,
        "diversity_weight": diversity_weight,
        "train_limit": train_limit,
        "val_limit": val_limit,
        "eval_every": eval_every,
        "save_every": save_every,
    }
    # Wrong settings and names are told before a model is loaded.
    config = TrainConfig.of(seed=seed, **{k: v for k, v in given.items() if v is not None})
    loaded = load_task(task)
    asked = loaded.setting(setting)  # type: ignore[arg-type]
    progress = default_progress()
    wire = Wire.build(
        sender,
        receiver,
        pair=pair,
        bridge=bridge,
        soft_tokens=soft_tokens,
        layer=layer or None,
        sender_prompt=sender_prompt,
        setting=asked,
        max_tokens=max_tokens,
        seed=seed,
        device=device,
        dtype=dtype,
        progress=progress,
        **_options(set_ or []),
    )
    done = train_bridge(
        wire, loaded, out, config=config, resume=resume, overwrite=overwrite, progress=progress
    )
    found = {
        "task": loaded.name,
        "pair": wire.pair,
        "n_train": done.n_train,
        "n_cut": done.n_cut,
        "val": done.best,
        "train_s": done.train_s,
        "run": str(done.out_dir),
    }
    if as_json:
        print_json(found)
        return
    best = "  ".join(f"{k} {v:.4g}" for k, v in done.best.items())
    print(f"Best on val: {best}")
    if done.n_cut:
        print(f"{done.n_cut} of {done.n_train} training texts were cut to the token limit.")
    print(f"Run folder: {out}   next: latentwire eval --run {out}")


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
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    limit: LimitOption = None,
    relay_limit: Annotated[
        int | None, typer.Option(min=1, help="The same for the text relay only.")
    ] = None,
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
    from latentwire.baselines import METHODS
    from latentwire.wire import load_pair

    for name in method or []:
        METHODS.get(name)
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
    partial = bool(method or limit or task or not controls or split != "test")
    results = evaluate(
        wire,
        loaded,
        methods=method,
        setting=setting,  # type: ignore[arg-type]
        sender_prompt=sender_prompt,
        controls=controls,
        split=split,  # type: ignore[arg-type]
        limit=limit,
        relay_limit=relay_limit,
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
    from telepathy.bridge_commands import list_bridges

    list_bridges(pair, as_json)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine has: device, versions, embedded models, data, caches."""
    from telepathy.doctor import examine, show

    found = examine()
    if as_json:
        print_json(found)
    else:
        show(found)


def main() -> None:
    """Entry point."""
    guarded(app)


def guarded(command: Callable[[], object]) -> None:
    """Run a command; an error a user can act on becomes one line and the right exit code."""
    try:
        command()
    except LatentWireError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print(
            "Interrupted. What was finished is kept; repeat the command (train: with --resume).",
            file=sys.stderr,
        )
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        print(f"error: {error.strerror}: {error.filename or 'a file'}.", file=sys.stderr)
        sys.exit(1)


def _options(pairs: list[str]) -> dict[str, Any]:
    """`width=256` -> {"width": 256}; values are JSON where they parse, text otherwise."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set wants name=value, not '{pair}'.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def show_results(found: dict[str, Any], as_json: bool) -> None:
    """Print results as a table with their meaning, or as one JSON object."""
    if as_json:
        print_json(found)
        return
    from telepathy.tables import meaning, results_table, stdout_console

    console = stdout_console()
    console.print(results_table(found))
    for note in found["notes"]:
        console.print(f"note: {note}", soft_wrap=True)
    if "bridge" in found["methods"]:
        console.print()
        for sentence in meaning(found):
            console.print(sentence)
    if found.get("run"):
        console.print(f"\nFiles: {found['run']}")


if __name__ == "__main__":
    main()
