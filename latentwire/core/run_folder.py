"""Layout of a run folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from latentwire.core.errors import DataError, UsageError
from latentwire.core.files import write_json


class RunFolder:
    """Paths of the files in a run folder. Creating the object does not access the disk."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.results = self.path / "results.json"
        self.scores = self.path / "scores.csv"
        self.bridge = self.path / "bridge"
        self.checkpoints = self.path / "checkpoints"
        self.warm_start = self.path / "start"
        self.tensorboard = self.path / "tensorboard"

    def predictions(self, method: str) -> Path:
        """Return the path of the predictions of `method`, one line per example."""
        return self.path / f"predictions.{method}.jsonl"

    def partial(self, method: str) -> Path:
        """Return the path of the answers that `method` has given so far, while it runs."""
        return self.path / f"partial.{method}.jsonl"

    def record(self, method: str) -> Path:
        """Return the path of the record of `method`: options, choices on val, time, versions."""
        return self.path / f"record.{method}.json"

    def work(self, method: str, fingerprint: str) -> Path:
        """Return the folder in which `method` trains, named after the hash of its options."""
        return self.path / "work" / f"{method}-{fingerprint}"

    def checkpoint(self, step: int) -> Path:
        """Return the folder of the checkpoint after `step` steps."""
        return self.checkpoints / f"step-{step:07d}"

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints, oldest first."""
        found = self.checkpoints.glob("step-*")
        return sorted(int(p.name[5:]) for p in found if p.name[5:].isdigit())

    def read_config(self) -> dict[str, Any] | None:
        """Return the run's configuration, or None if the folder has none.

        Raises: DataError: If the file exists but is damaged.
        """
        if not self.config.is_file():
            return None
        try:
            return dict(json.loads(self.config.read_text(encoding="utf-8")))
        except ValueError as error:
            raise DataError(
                f"{self.config} is damaged ({error}). Restore it, or delete the folder {self.path}."
            ) from error

    def start(self, config: dict[str, Any], *, resume: bool, overwrite: bool) -> None:
        """Prepare the folder for a run and save its configuration.

        Args:
            config: Configuration of the run.
            resume: Whether to continue the run in the folder, if there is one.
            overwrite: Whether to delete the run in the folder, if there is one.
        Raises: UsageError: If the folder has a run and neither flag is set, or if a run is
            resumed with different options; the message names the first one that differs.
        """
        old = self.read_config()
        if old is None or overwrite:
            for stale in (self.results, self.metrics):
                stale.unlink(missing_ok=True)
            _remove(self.checkpoints)
            _remove(self.warm_start)
            _remove(self.bridge)
            _remove(self.tensorboard)
        elif not resume:
            raise UsageError(
                f"{self.path} already contains a run. Use --resume to continue it, --overwrite to "
                "replace it, or choose another --out."
            )
        elif differing := _difference(old.get("setting"), config["setting"]):
            raise UsageError(
                f"Cannot resume the run in {self.path}: its options differ ({differing}). Use the "
                "same options, or choose another --out."
            )
        write_json(self.config, config)


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def _difference(old: Any, new: Any, key: str = "") -> str:
    """Return the first dotted key at which two JSON values differ, with both values, or ""."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            inner = _difference(old.get(name), new.get(name), f"{key}.{name}" if key else name)
            if inner:
                return inner
        return ""
    if json.dumps(old) == json.dumps(new):
        return ""
    return f"{key}: {json.dumps(old)} in the run, {json.dumps(new)} now"
