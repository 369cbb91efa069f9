"""What a run leaves in its folder: the end of its log, its results, the type of its error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from latentwire.core.errors import DataError


def tail(log: Path, begin: int = 0, n_lines: int = 20) -> list[str]:
    """Last lines of a log that say something, of a progress bar only its last state."""
    try:
        with log.open("rb") as file:
            file.seek(max(begin, log.stat().st_size - 65536))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = [line.rstrip().rpartition("\r")[2] for line in text.split("\n")]
    return [line for line in lines if line.strip()][-n_lines:]


def metrics_of(path: Path) -> dict[str, Any]:
    """What a result file says, in short: per method its score and interval, else its numbers.

    Raises: DataError: If it is no JSON object.
    """
    try:
        found = json.loads(path.read_bytes())
        methods = found.get("methods")
        if not isinstance(methods, dict):
            return {k: v for k, v in found.items() if isinstance(v, int | float | str)}
        metric = found.get("metric", "accuracy")
        rows = {name: row.get("metrics", row) for name, row in methods.items()}
        return {n: row.get(metric, row.get("accuracy")) for n, row in rows.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path} holds no results ({error}).") from error


def left_error(folder: Path) -> dict[str, Any]:
    """The error that a command of this project left behind (`telepathy.cli.errors`), or nothing."""
    try:
        left = json.loads((folder / "error.json").read_bytes())
        return {"types": left["types"], "error": f"{left['types'][0]}: {left['error']}"}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def is_newer(file: Path, than: Path) -> bool:
    """Whether a file was written after another: both times are of one disk's clock."""
    return file.exists() and file.stat().st_mtime >= than.stat().st_mtime - 0.01
