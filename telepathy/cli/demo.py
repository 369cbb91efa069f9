"""`latentwire demo`: train on bbc_news with the embedded pair, show what the bridge carries."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from latentwire.core.errors import UsageError
from latentwire.core.files import write_json
from latentwire.core.progress import Progress
from latentwire.core.run_folder import RunFolder

# Chosen on val (docs/LOG.md); sized so that two CPU cores end well within ten minutes.
TASK = "bbc_news"
PAIR = "embedded"
SOFT_TOKENS = 8
MAX_TOKENS = 48
TRAINING: dict[str, Any] = {"seed": 0}
RELAY_LIMIT = 48
PROMPT_VAL_LIMIT = 32
TIMED = 6


def run_demo(out: Path, progress: Progress, *, fresh: bool = False) -> dict[str, Any]:
    """Train, evaluate, and return the results as `results.json` holds them.

    A finished demo in `out` is shown again; an interrupted one goes on.

    Args:
        out: Run folder.
        progress: Told of each stage.
        fresh: Start again whatever is in `out`.
    """
    from latentwire import Wire, evaluate, load_task, train_bridge

    run = RunFolder(out)
    if run.results.is_file() and not fresh:
        progress.say(f"The demo in {out} is finished; --fresh runs it again.")
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
        raise UsageError(f"{error} (Or run the demo with --fresh.)") from error
    progress.say("Evaluating on the whole test split, beside controls and baselines.")
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
    """Largest resident memory of this process so far, in MB; None where it cannot be asked."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
