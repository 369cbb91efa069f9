"""The one object that knows the file names of a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from latentwire.core.errors import DataError, UsageError
from latentwire.core.files import write_json


class RunFolder:
    """Paths inside one run's folder. Creating the object touches no disk.

    Args:
        path: The run's folder.
    """

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
        """File with one line per example that `method` answered."""
        return self.path / f"predictions.{method}.jsonl"

    def partial(self, method: str) -> Path:
        """What `method` has answered so far, while it is at it."""
        return self.path / f"partial.{method}.jsonl"

    def record(self, method: str) -> Path:
        """What made the predictions of `method`: settings, choices on val, time, versions."""
        return self.path / f"record.{method}.json"

    def work(self, method: str, fingerprint: str) -> Path:
        """Folder where `method` keeps what it trains under a fingerprint of its settings."""
        return self.path / "work" / f"{method}-{fingerprint}"

    def checkpoint(self, step: int) -> Path:
        """Folder of the checkpoint after `step` steps."""
        return self.checkpoints / f"step-{step:07d}"

    def steps(self) -> list[int]:
        """Steps of the checkpoints there are, oldest first."""
        found = self.checkpoints.glob("step-*")
        return sorted(int(p.name[5:]) for p in found if p.name[5:].isdigit())

    def read_config(self) -> dict[str, Any] | None:
        """The run's configuration, or None if the folder holds no run.

        Raises: DataError: If the file is there and cannot be read.
        """
        if not self.config.is_file():
            return None
        try:
            return dict(json.loads(self.config.read_text(encoding="utf-8")))
        except ValueError as error:
            raise DataError(
                f"{self.config} is damaged ({error}). Delete the folder {self.path} or restore it."
            ) from error

    def start(self, config: dict[str, Any], *, resume: bool, overwrite: bool) -> None:
        """Claim the folder for a run with this configuration.

        Raises: UsageError: If it holds a run and neither flag is given, or `resume` is asked
            with another configuration; the message names the first key that differs.
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
                f"{self.path} already holds a run. Use --resume to go on with it, --overwrite to "
                "start again, or another --out."
            )
        elif differing := _difference(old.get("setting"), config["setting"]):
            raise UsageError(
                f"{self.path} holds a run with other settings ({differing}): it cannot be resumed "
                "with these. Give the same settings, or another --out."
            )
        write_json(self.config, config)


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def _difference(old: Any, new: Any, key: str = "") -> str:
    """The first dotted key at which two JSON values differ, with both values; '' if none."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            inner = _difference(old.get(name), new.get(name), f"{key}.{name}" if key else name)
            if inner:
                return inner
        return ""
    if json.dumps(old) == json.dumps(new):
        return ""
    return f"{key}: {json.dumps(old)} there, {json.dumps(new)} now"
