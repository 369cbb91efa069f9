"""`latentwire demo`: train on bbc_news with the embedded pair and show what the bridge carries."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from latentwire.core.errors import UsageError
from latentwire.core.files import write_json
from latentwire.core.progress import Progress, default_progress
from latentwire.core.run_folder import RunFolder
from latentwire.eval.method import METHODS
from telepathy.cli.options import JsonOption
from telepathy.reporting.results import show_results

# Chosen on val (docs/LOG.md) and sized for two CPU cores.
TASK = "bbc_news"
PAIR = "embedded"
SOFT_TOKENS = 8
MAX_TOKENS = 48
TRAINING: dict[str, Any] = {"seed": 0}
RELAY_LIMIT = 48
PROMPT_VAL_LIMIT = 32
TIMED = 6
EVALUATION: dict[str, Any] = {"relay_limit": RELAY_LIMIT, "prompt_val_limit": PROMPT_VAL_LIMIT}
READERS = ("zeroshot_sender", "zeroshot_receiver", "text_relay")
"""Methods that need no bridge: a second process runs them during training."""


def demo(
    out: Annotated[Path, typer.Option("--out", help="Run folder.")] = Path("runs/demo"),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard an earlier demo in --out and start over.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train and evaluate a bridge between two small real models.

    Takes about six minutes on two CPU cores. A complete demo is shown again; an interrupted one
    is resumed.
    """
    show_results(run_demo(out, default_progress(), fresh=fresh), as_json)


def run_demo(out: Path, progress: Progress, *, fresh: bool = False) -> dict[str, Any]:
    """Train, evaluate, and return the content of `results.json`.

    Args:
        out: Run folder.
        progress: Receives messages about each stage.
        fresh: Start over even if `out` contains a demo.
    """
    from latentwire import Wire, evaluate, load_task, train_bridge

    run = RunFolder(out)
    if not fresh and (found := _finished(run)):
        progress.say(f"The demo in {out} is complete. Run it again with --fresh.")
        return found
    started = time.monotonic()
    task = load_task(TASK)
    if fresh:
        for answers in (*out.glob("predictions.*"), *out.glob("record.*"), *out.glob("partial.*")):
            answers.unlink()
    with _second_process(out, progress) as wait:
        wire = Wire.build(
            pair=PAIR, soft_tokens=SOFT_TOKENS, max_tokens=MAX_TOKENS, progress=progress
        )
        names = wire.pair
        progress.say(f"Training a bridge {names['sender']} -> {names['receiver']} on {TASK}.")
        try:
            train_bridge(
                wire, task, out, resume=not fresh, overwrite=fresh, progress=progress, **TRAINING
            )
        except UsageError as error:
            raise UsageError(f"{error} (Or start the demo over with --fresh.)") from error
        progress.say("Evaluating the bridge, controls and baselines on the whole test split.")
        others = [name for name in METHODS.names(in_eval=True) if name not in READERS]
        whole = {"out_dir": out, "progress": progress, **EVALUATION}
        evaluate(wire, task, methods=others, timed=0, **whole)
        wait()
    results = evaluate(wire, task, timed=TIMED, **whole)  # it reads the stored answers
    found = {**results.to_json(), "elapsed_s": time.monotonic() - started, "peak_mb": _peak_mb()}
    write_json(run.results, found)
    return found


def _finished(run: RunFolder) -> dict[str, Any] | None:
    """Return the results of a complete demo, which state its duration; None if there are none."""
    if not run.results.is_file():
        return None
    found = dict(json.loads(run.results.read_text(encoding="utf-8")))
    return found if "elapsed_s" in found else None


@contextmanager
def _second_process(out: Path, progress: Progress) -> Iterator[Callable[[], None]]:
    """Run the readers in a second process, each process on half of the CPU threads.

    Two processes with one thread each do more work than one with two threads. If the second process
    fails, its methods run in this one. Without two threads, or on a GPU, nothing is started.

    Args:
        out: Run folder, where the answers are stored.
        progress: Called with progress updates.
    Yields: A function that waits for the second process.
    """
    import torch

    from latentwire.models.loading import pick_device

    n_threads = torch.get_num_threads()
    if pick_device("auto").type != "cpu" or n_threads < 2:
        yield lambda: None
        return
    half = n_threads // 2
    process = multiprocessing.get_context("spawn").Process(
        target=_run_readers, args=(out, half), daemon=True
    )
    process.start()
    torch.set_num_threads(n_threads - half)

    def wait() -> None:
        if process.is_alive():
            progress.say("Waiting for the second process, which runs the baselines.")
        process.join()

    try:
        yield wait
    finally:
        process.terminate()
        process.join()
        torch.set_num_threads(n_threads)


def _exit_with_parent() -> None:
    """End this process as soon as the one that started it is gone, also after a kill."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run_readers(out: Path, n_threads: int) -> None:
    """Cache the sender's states of the test split and store the answers of the readers in `out`."""
    import torch

    from latentwire import Wire, evaluate, load_task
    from latentwire.models.state_cache import StateCache

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends this one
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    torch.set_num_threads(n_threads)
    # The bridge stays untrained: readers do not use it.
    wire = Wire.build(pair=PAIR, soft_tokens=SOFT_TOKENS, max_tokens=MAX_TOKENS)
    silent = Progress()
    task = load_task(TASK)
    texts, _ = wire.sender_texts(task, list(task.split("test")))
    StateCache(wire.sender, wire.spec.layers).ensure(texts, progress=silent)
    evaluate(wire, task, methods=READERS, timed=0, out_dir=out, progress=silent, **EVALUATION)


def _peak_mb() -> float | None:
    """Peak resident memory of this process so far, in MB; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
