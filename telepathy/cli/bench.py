"""`latentwire bench`: how fast, how large and how small on the wire."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latentwire.core.errors import LatentWireError, UsageError
from latentwire.core.files import write_json
from latentwire.core.progress import Progress, default_progress
from telepathy.cli.options import DeviceOption, DtypeOption, JsonOption, LimitOption, parse_numbers
from telepathy.reporting.bench_tables import show_bench
from telepathy.reporting.text import print_json

if TYPE_CHECKING:
    from latentwire.bench.subject import Subject

app = typer.Typer(no_args_is_help=True, help="Measure speed, memory and bytes on this machine.")

RunOption = Annotated[Path | None, typer.Option("--run", help="Folder of a trained run.")]
PairOption = Annotated[
    str | None,
    typer.Option(
        "--pair", help="A pair with an untrained bridge: embedded (default), fake, paper."
    ),
]
RandomOption = Annotated[
    str | None,
    typer.Option(
        "--random-weights",
        help="SENDER,RECEIVER: built-in shapes with random weights, no download.",
    ),
]
SoftTokensOption = Annotated[
    int, typer.Option("--soft-tokens", min=1, help="Length of an untrained bridge's message.")
]
LayerOption = Annotated[int | None, typer.Option("--layer", help="Sender layer it reads.")]
InputOption = Annotated[
    int | None,
    typer.Option(
        "--input-tokens", min=1, help="Tokens of each text; default: a run's own texts, else 60."
    ),
]
CompileOption = Annotated[
    bool,
    typer.Option(
        "--compile", help="Run the bridge through torch.compile, on a GPU as CUDA graphs."
    ),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Folder for bench_NAME.json and bench_NAME.png.")
]


@app.command()
def latency(
    run: RunOption = None,
    pair: PairOption = None,
    random_weights: RandomOption = None,
    soft_tokens: SoftTokensOption = 8,
    layer: LayerOption = None,
    input_tokens: InputOption = None,
    lengths: Annotated[
        str, typer.Option(help="Tokens that relays write, joined by commas.")
    ] = "1,2,3,16,32,64,128,256",
    relay_tokens: Annotated[
        int, typer.Option(min=1, help="Length of the relay that the bridge is held against.")
    ] = 64,
    batch_sizes: Annotated[str, typer.Option(help="Joined by commas.")] = "1,16",
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds.")] = 10,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    compile_bridge: CompileOption = False,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time the bridge beside text relays of several lengths, text in to answer out."""
    from latentwire.bench.latency import measure_latency

    given: dict[str, Any] = {
        "lengths": parse_numbers(lengths, "--lengths", 1),
        "relay_tokens": relay_tokens,
    }
    given |= {"batch_sizes": parse_numbers(batch_sizes, "--batch-sizes", 1), "rounds": rounds}
    chosen = _chosen(run, pair, random_weights, soft_tokens, layer, input_tokens, device, dtype)
    chosen["compiled"] = compile_bridge
    finish(
        with_subject(chosen, lambda s, p, _: measure_latency(s, **given, progress=p)), out, as_json
    )


@app.command()
def throughput(
    run: RunOption = None,
    pair: PairOption = None,
    random_weights: RandomOption = None,
    soft_tokens: SoftTokensOption = 8,
    layer: LayerOption = None,
    input_tokens: InputOption = None,
    batch_sizes: Annotated[str, typer.Option(help="Joined by commas.")] = "1,2,4,8,16",
    input_lengths: Annotated[
        str, typer.Option(help="Tokens of each text, joined by commas.")
    ] = "32,60,128",
    many: Annotated[
        int, typer.Option(min=0, help="Texts answered in one call and one by one; 0: not.")
    ] = 256,
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds.")] = 5,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    compile_bridge: CompileOption = False,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count the texts that `Wire.answer` answers per second."""
    from latentwire.bench.throughput import measure_throughput

    given: dict[str, Any] = {
        "batch_sizes": parse_numbers(batch_sizes, "--batch-sizes", 1),
        "many": many,
    }
    given |= {"input_lengths": parse_numbers(input_lengths, "--input-lengths", 1), "rounds": rounds}
    chosen = _chosen(run, pair, random_weights, soft_tokens, layer, input_tokens, device, dtype)
    chosen["compiled"] = compile_bridge
    finish(
        with_subject(chosen, lambda s, p, _: measure_throughput(s, **given, progress=p)),
        out,
        as_json,
    )


@app.command()
def memory(
    run: RunOption = None,
    pair: PairOption = None,
    random_weights: RandomOption = None,
    soft_tokens: SoftTokensOption = 8,
    layer: LayerOption = None,
    input_tokens: InputOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts answered at once.")] = 16,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    out: OutOption = None,
    as_json: JsonOption = False,
    in_this_process: Annotated[bool, typer.Option("--in-this-process", hidden=True)] = False,
) -> None:
    """Measure weights, peak and what answering needs beside weights, in a process of its own."""
    chosen = _chosen(run, pair, random_weights, soft_tokens, layer, input_tokens, device, dtype)
    if in_this_process:
        print_json(memory_of(chosen, batch_size))
    else:
        finish(memory_apart(chosen, batch_size), out, as_json)


@app.command()
def wire(
    run: Annotated[
        list[Path] | None, typer.Option("--run", help="Folder of a trained run; repeatable.")
    ] = None,
    codecs: Annotated[str | None, typer.Option(help="Joined by commas; default: all.")] = None,
    ranks: Annotated[str, typer.Option(help="Of lowrank messages, joined by commas.")] = "8,32,128",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    limit: LimitOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure bytes and accuracy of every codec, beside the text and the sender's answer."""
    from latentwire.bench.codecs import measure_wire
    from latentwire.bench.subject import open_subject

    if not run:
        raise UsageError("Accuracy on the wire is that of a trained bridge: give --run.")
    chosen = parse_numbers(ranks, "--ranks", 1)
    progress = default_progress()
    with tempfile.TemporaryDirectory() as folder:
        subjects = [
            open_subject(Path(folder), run=each, device=device, dtype=dtype, progress=progress)
            for each in run
        ]
        found = measure_wire(
            subjects,
            codecs=codecs.split(",") if codecs else None,
            ranks=chosen,
            split=split,  # type: ignore[arg-type]
            limit=limit,
            progress=progress,
        )
    finish(found, out, as_json)


@app.command()
def train(
    run: RunOption = None,
    pair: PairOption = None,
    random_weights: RandomOption = None,
    soft_tokens: SoftTokensOption = 8,
    layer: LayerOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples of a step.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds.")] = 9,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count the examples that training takes in per second."""
    from latentwire.bench.training import measure_training

    chosen = _chosen(run, pair, random_weights, soft_tokens, layer, None, device, dtype)
    chosen["n_train"] = batch_size * (rounds + 1)
    given: dict[str, Any] = {"batch_size": batch_size, "rounds": rounds}
    finish(
        with_subject(chosen, lambda s, p, folder: measure_training(s, folder, **given, progress=p)),
        out,
        as_json,
    )


def with_subject(
    chosen: dict[str, Any], measure: Callable[[Subject, Progress, Path], dict[str, Any]]
) -> dict[str, Any]:
    """Open what is measured and measure it; made-up data lie in a folder that goes afterwards.

    Args:
        chosen: Arguments of `open_subject`.
        measure: Given the subject, a progress and that folder.
    """
    from latentwire.bench.subject import open_subject

    progress = default_progress()
    with tempfile.TemporaryDirectory() as folder:
        subject = open_subject(Path(folder), **chosen, progress=progress)
        return measure(subject, progress, Path(folder))


def memory_of(chosen: dict[str, Any], batch_size: int) -> dict[str, Any]:
    """The memory benchmark in this process. Arguments as in `with_subject`."""
    from latentwire.bench.memory import measure_memory
    from latentwire.bench.subject import open_subject

    with tempfile.TemporaryDirectory() as folder:
        return measure_memory(lambda: open_subject(Path(folder), **chosen), batch_size=batch_size)


def memory_apart(chosen: dict[str, Any], batch_size: int) -> dict[str, Any]:
    """The same in a process that has done nothing else.

    Raises: LatentWireError: With that process's message and exit code, if it fails.
    """
    given = {**chosen, "batch_size": batch_size}
    flags = [
        f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None
    ]
    command = [sys.executable, "-m", "telepathy.cli", "bench", "memory", "--in-this-process"]
    done = subprocess.run([*command, *flags], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
        kind = UsageError if done.returncode == UsageError.exit_code else LatentWireError
        raise kind(lines[-1].removeprefix("error: "))
    return dict(json.loads(done.stdout))


def finish(found: dict[str, Any], out: Path | None, as_json: bool) -> None:
    """Print a result, and leave it with its picture in a folder if one is named."""
    if out is not None:
        name = f"bench_{found['benchmark']}"
        write_json(out / f"{name}.json", found)
        from latentwire.bench.plots import plot

        plot(found, out / f"{name}.png")
    if as_json:
        print_json(found)
    else:
        show_bench(found)


def _chosen(
    run: Path | None,
    pair: str | None,
    random_weights: str | None,
    soft_tokens: int,
    layer: int | None,
    input_tokens: int | None,
    device: str,
    dtype: str,
) -> dict[str, Any]:
    return {
        "run": run,
        "pair": pair,
        "random_weights": random_weights,
        "soft_tokens": soft_tokens,
        "layer": layer,
        "input_tokens": input_tokens,
        "device": device,
        "dtype": dtype,
    }
