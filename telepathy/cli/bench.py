"""`latentwire bench`: measure latency, throughput, memory, message size and training speed.

The defaults are meant for two CPU cores and the embedded pair; options select the full grids.
"""

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

app = typer.Typer(
    no_args_is_help=True,
    help="Measure speed, memory and message size on this machine.",
)

_MEASURED, _MEASUREMENT, _OUTPUT = "What is measured", "Measurement", "Output"


def _option(group: str, text: str, *flags: str, **more: Any) -> Any:
    return typer.Option(*flags, help=text, rich_help_panel=group, **more)


RunOption = Annotated[Path | None, _option(_MEASURED, "Run folder of a trained bridge.", "--run")]
PairOption = Annotated[
    str | None,
    _option(
        _MEASURED,
        "Pair of models for an untrained bridge, instead of --run: embedded, fake or paper. "
        "Default: embedded.",
        "--pair",
    ),
]
RandomOption = Annotated[
    str | None,
    _option(
        _MEASURED,
        "Built-in model shapes with random weights for an untrained bridge; no download.",
        "--random-weights",
        metavar="SENDER,RECEIVER",
    ),
]
SoftTokensOption = Annotated[
    int,
    _option(_MEASURED, "Number of soft tokens of an untrained bridge.", "--soft-tokens", min=1),
]
LayerOption = Annotated[
    int | None,
    _option(
        _MEASURED,
        "Sender layer that an untrained bridge reads. Default: at 30 % of the depth.",
        "--layer",
    ),
]
InputOption = Annotated[
    int | None,
    _option(
        _MEASURED,
        "Number of sender tokens per text. Default: the texts of a run unchanged, otherwise 60.",
        "--input-tokens",
        min=1,
    ),
]
CompileOption = Annotated[
    bool,
    _option(
        "Models",
        "Compile the bridge with torch.compile; on a GPU it runs as CUDA graphs.",
        "--compile",
    ),
]
OutOption = Annotated[
    Path | None,
    _option(_OUTPUT, "Folder for the results bench_NAME.json and a plot bench_NAME.png.", "--out"),
]
BatchSizesOption = Annotated[
    str, _option(_MEASUREMENT, "Numbers of texts per call, joined by commas.", "--batch-sizes")
]
RoundsOption = Annotated[
    int,
    _option(_MEASUREMENT, "Number of timed rounds, after one warm-up round.", "--rounds", min=1),
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
        str,
        _option(
            _MEASUREMENT,
            "Numbers of tokens that text relays write, joined by commas. Full grid: "
            "1,2,3,16,32,64,128,256.",
        ),
    ] = "1,16,64",
    relay_tokens: Annotated[
        int,
        _option(
            _MEASUREMENT,
            "Number of tokens of the relay that the reported speedup refers to.",
            min=1,
        ),
    ] = 64,
    batch_sizes: BatchSizesOption = "1,16",
    rounds: RoundsOption = 5,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    compile_bridge: CompileOption = False,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure latency from text to answer: the bridge, text relays and reading the text.

    The defaults time relays of 1, 16 and 64 tokens at batch sizes 1 and 16.
    """
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
    batch_sizes: BatchSizesOption = "1,2,4,8,16",
    input_lengths: Annotated[
        str,
        _option(_MEASUREMENT, "Numbers of sender tokens per text, joined by commas."),
    ] = "32,60,128",
    many: Annotated[
        int,
        _option(
            _MEASUREMENT,
            "Number of texts that are answered in one call and in one call per text; 0 skips "
            "this comparison.",
            min=0,
        ),
    ] = 128,
    rounds: RoundsOption = 5,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    compile_bridge: CompileOption = False,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure throughput: texts per second of `Wire.answer`.

    The defaults measure five batch sizes at three text lengths, and 128 texts in one call.
    """
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
    batch_size: Annotated[
        int,
        _option(_MEASUREMENT, "Number of texts per call.", min=1),
    ] = 16,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    out: OutOption = None,
    as_json: JsonOption = False,
    in_this_process: Annotated[bool, typer.Option("--in-this-process", hidden=True)] = False,
) -> None:
    """Measure the memory of weights and of answering, in a separate process.

    The defaults answer two batches of 16 texts.
    """
    chosen = _chosen(run, pair, random_weights, soft_tokens, layer, input_tokens, device, dtype)
    if in_this_process:
        print_json(memory_of(chosen, batch_size))
    else:
        finish(memory_apart(chosen, batch_size), out, as_json)


@app.command()
def wire(
    run: Annotated[
        list[Path] | None,
        _option(
            _MEASURED,
            "Run folder of a trained bridge; repeat it for several runs on one task.",
            "--run",
        ),
    ] = None,
    codecs: Annotated[
        str | None,
        _option(_MEASUREMENT, "Codecs of messages, joined by commas. Default: all."),
    ] = None,
    ranks: Annotated[
        str,
        _option(_MEASUREMENT, "Ranks of lowrank messages, joined by commas."),
    ] = "8,32,128",
    split: Annotated[
        str,
        _option(_MEASUREMENT, "Split to answer: train, val or test."),
    ] = "test",
    limit: LimitOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure message size and accuracy of every codec, compared with text.

    The defaults answer the whole test split with all codecs and three ranks, which takes more than
    six minutes on two CPU cores with the embedded pair; --limit takes a sample.
    """
    from latentwire.bench.codecs import measure_wire
    from latentwire.bench.subject import open_subject

    if not run:
        raise UsageError("`bench wire` measures trained bridges: give --run.")
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
    batch_size: Annotated[
        int,
        _option(_MEASUREMENT, "Number of examples per step.", min=1),
    ] = 16,
    rounds: RoundsOption = 5,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure training speed in examples per second, compared with a plain loop.

    The defaults time five steps of 16 examples.
    """
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
    """Open a subject and measure it. Synthetic data is deleted afterwards.

    Args:
        chosen: Keyword arguments of `open_subject`.
        measure: Function of the subject, progress and a temporary folder.
    Returns: The JSON object of the benchmark.
    """
    from latentwire.bench.subject import open_subject

    progress = default_progress()
    with tempfile.TemporaryDirectory() as folder:
        subject = open_subject(Path(folder), **chosen, progress=progress)
        return measure(subject, progress, Path(folder))


def memory_of(chosen: dict[str, Any], batch_size: int) -> dict[str, Any]:
    """Run the memory benchmark in this process. `chosen` as in `with_subject`."""
    from latentwire.bench.memory import measure_memory
    from latentwire.bench.subject import open_subject

    with tempfile.TemporaryDirectory() as folder:
        return measure_memory(lambda: open_subject(Path(folder), **chosen), batch_size=batch_size)


def memory_apart(chosen: dict[str, Any], batch_size: int) -> dict[str, Any]:
    """Run the memory benchmark in a new process.

    Raises: LatentWireError: If the process fails, with its message and exit code.
    """
    given = {**chosen, "batch_size": batch_size}
    flags = [
        f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None
    ]
    command = [sys.executable, "-m", "telepathy.cli", "bench", "memory", "--in-this-process"]
    done = subprocess.run([*command, *flags], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"Exit code {done.returncode}."]
        kind = UsageError if done.returncode == UsageError.exit_code else LatentWireError
        raise kind(lines[-1].removeprefix("error: "))
    return dict(json.loads(done.stdout))


def finish(found: dict[str, Any], out: Path | None, as_json: bool) -> None:
    """Print a result; with `out`, also write it as JSON and as a plot."""
    if out is not None:
        name = f"bench_{found['benchmark']}"
        write_json(out / f"{name}.json", found)
        from latentwire.bench.plots import plot

        plot(found, out / f"{name}.png")
    if as_json:
        print_json(found)
    else:
        show_bench(found)


_SUBJECT = "run pair random_weights soft_tokens layer input_tokens device dtype".split()


def _chosen(*values: Any) -> dict[str, Any]:
    """Keyword arguments of `open_subject` from the values of the options in `_SUBJECT`."""
    return dict(zip(_SUBJECT, values, strict=True))
