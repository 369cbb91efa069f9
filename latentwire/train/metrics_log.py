"""metrics.jsonl: one line per training step and per validation."""

from __future__ import annotations

import json
from typing import Any

from latentwire.core.files import write_jsonl
from latentwire.core.run_folder import RunFolder
from latentwire.train.trackers import Trackers


class MetricsLog:
    """Buffered writer of metrics.jsonl. Lines after the resumed step are removed.

    Args:
        run: The run folder.
        step: Number of completed steps.
        active: Whether to write; False in all processes but the first.
        trackers: Trackers that also receive each line.
    """

    def __init__(
        self, run: RunFolder, step: int, *, active: bool = True, trackers: Trackers | None = None
    ) -> None:
        self._path, self._active, self._trackers = run.metrics, active, trackers or Trackers()
        self._rows: list[dict[str, Any]] = []
        if active and self._path.is_file():
            kept = []
            for line in self._path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except ValueError:
                    continue  # a line truncated when the process was killed
                if row["step"] <= step:
                    kept.append(row)
            write_jsonl(self._path, kept)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def write(self, row: dict[str, Any]) -> None:
        """Add a line; it is written after ten lines or on `flush`."""
        self._rows.append(row)
        if self._active:
            self._trackers.log(row["step"], {k: v for k, v in row.items() if k != "step"})
        if len(self._rows) >= 10:
            self.flush()

    def flush(self) -> None:
        """Write all buffered lines."""
        if self._active:
            with self._path.open("a", encoding="utf-8") as out:
                out.writelines(json.dumps(row) + "\n" for row in self._rows)
        self._rows = []
