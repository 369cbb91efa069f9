"""Read the output of a run from its folder: log tail, results, error type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from latentwire.core.errors import DataError


def tail(log: Path, begin: int = 0, n_lines: int = 20) -> list[str]:
    """Last non-empty lines of a log; a progress bar counts as one line with its final state."""
    try:
        with log.open("rb") as file:
            file.seek(max(begin, log.stat().st_size - 65536))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = [line.rstrip().rpartition("\r")[2] for line in text.split("\n")]
    return [line for line in lines if line.strip()][-n_lines:]


def metrics_of(path: Path) -> dict[str, Any]:
    """Extract metrics from a result file: the primary score of each method, or plain values.

    Raises: DataError: If the file is not a JSON object.
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
        raise DataError(f"{path} is not a results file ({error}).") from error


def left_error(folder: Path) -> dict[str, Any]:
    """The error written by `telepathy.cli.errors`; empty if the command wrote none."""
    try:
        left = json.loads((folder / "error.json").read_bytes())
        return {"types": left["types"], "error": f"{left['types'][0]}: {left['error']}"}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def is_newer(file: Path, than: Path) -> bool:
    """Whether `file` was modified no earlier than `than` (both on the same file system)."""
    return file.exists() and file.stat().st_mtime >= than.stat().st_mtime - 0.01
