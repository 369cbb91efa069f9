"""`latentwire demo`: train on bbc_news with the embedded pair and show what the bridge carries."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from latentwire.core.errors import UsageError
from latentwire.core.files import write_json
from latentwire.core.progress import Progress, default_progress
from latentwire.core.run_folder import RunFolder
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


def demo(
    out: Annotated[Path, typer.Option("--out", help="Run folder.")] = Path("runs/demo"),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard an earlier demo in --out and start over.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train and evaluate a bridge between two small real models.

    Takes under ten minutes on two CPU cores. A complete demo is shown again; an interrupted one
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
    if run.results.is_file() and not fresh:
        progress.say(f"The demo in {out} is complete. Run it again with --fresh.")
        return dict(json.loads(run.results.read_text(encoding="utf-8")))
    started = time.monotonic()
    task = load_task(TASK)
    wire = Wire.build(pair=PAIR, soft_tokens=SOFT_TOKENS, max_tokens=MAX_TOKENS, progress=progress)
    progress.say(f"Training a bridge {wire.sender.lm.name} -> {wire.receiver.lm.name} on {TASK}.")
    try:
        train_bridge(
            wire, task, out, resume=not fresh, overwrite=fresh, progress=progress, **TRAINING
        )
    except UsageError as error:
        raise UsageError(f"{error} (Or start the demo over with --fresh.)") from error
    progress.say("Evaluating the bridge, controls and baselines on the whole test split.")
    results = evaluate(
        wire,
        task,
        relay_limit=RELAY_LIMIT,
        prompt_val_limit=PROMPT_VAL_LIMIT,
        timed=TIMED,
        out_dir=out,
        progress=progress,
    )
    found = {**results.to_json(), "elapsed_s": time.monotonic() - started, "peak_mb": _peak_mb()}
    write_json(run.results, found)
    return found


def _peak_mb() -> float | None:
    """Peak resident memory of this process so far, in MB; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
