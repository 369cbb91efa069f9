"""A run as the analysis sees it: its record, and what its folder holds, read when asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from latentwire.core.files import read_jsonl
from latentwire.core.run_folder import RunFolder
from telepathy.experiments.analysis.settings import flat, pick
from telepathy.experiments.registry.record import COMPLETED, Record

_SEED = re.compile(r"seed-(\d+)")


@dataclass(frozen=True)
class Answers:
    """What one method answered with one seed, by the id of the example.

    Args:
        values: The primary metric, 0..1.
        said: The prediction: index of a choice, or text, or None.
        targets: Index of the right choice, or the right texts.
    """

    values: dict[str, float]
    said: dict[str, Any]
    targets: dict[str, Any]

    @property
    def chooses(self) -> bool:
        """Whether all targets are choices."""
        return bool(self.targets) and all(isinstance(t, int) for t in self.targets.values())


@dataclass(frozen=True)
class Table:
    """One `results.json`, or what the record alone knows of one.

    Args:
        found: As it was written.
        folder: Where the answers behind it lie.
    """

    found: dict[str, Any]
    folder: Path
    _read: dict[str, dict[int | None, Answers]] = field(default_factory=dict, compare=False)

    @property
    def methods(self) -> dict[str, dict[str, Any]]:
        """Rows by name of the method."""
        return dict(self.found.get("methods") or {})

    def score(self, method: str) -> dict[str, Any] | None:
        """The primary score of a method: value, interval, n."""
        row = self.methods[method]
        score = (row.get("metrics") or {}).get(self.found.get("metric")) or row.get("accuracy")
        return score if isinstance(score, dict) and "value" in score else None

    def answers(self, method: str) -> dict[int | None, Answers]:
        """What a method answered, by seed; None where the folder names no seed."""
        if method not in self._read:
            self._read[method] = dict(self._answers(method))
        return self._read[method]

    def _answers(self, method: str) -> Iterator[tuple[int | None, Answers]]:
        for folder in (self.folder, *sorted(self.folder.glob("seed-*"))):
            seed = _SEED.fullmatch(folder.name) if folder != self.folder else None
            if found := read_answers(RunFolder(folder).predictions(method)):
                yield int(seed[1]) if seed else None, found


class Run:
    """A record and its folder.

    Args:
        record: The record, as it is now.
        folder: Its run folder.
        superseded: Whether its name has been used with another configuration since.
    """

    def __init__(self, record: Record, folder: Path, superseded: bool = False) -> None:
        self.record, self.folder, self.superseded = record, folder, superseded
        self.key = record.key

    @property
    def completed(self) -> bool:
        """Whether it is done."""
        return self.record.state == COMPLETED

    @property
    def task(self) -> str:
        """The task that its configuration names; '' if none."""
        return str(pick(self.record.config, "task", "dataset") or "")

    @property
    def seed(self) -> int | None:
        """The seed that its configuration names."""
        found = pick(self.record.config, "seed")
        return found if isinstance(found, int) else None

    @cached_property
    def facts(self) -> dict[str, Any]:
        """All that may set it apart from other runs: configuration, host, GPU, commit."""
        r = self.record
        place = {"host": r.host, "gpu": r.gpu, "commit": r.commit, "dirty": r.dirty}
        return flat(r.config) | {name: value for name, value in place.items() if value != ""}

    @cached_property
    def result_files(self) -> list[Path]:
        """Its results: the file that the record names, else those in its folder."""
        own = self.folder / "results.json"
        named = Path(self.record.result_file) if self.record.result_file else own
        for file in (named, own):
            if file.is_file():
                return [file]
        return sorted(self.folder.glob("*/results.json"))

    @cached_property
    def tables(self) -> list[Table]:
        """Its results with the answers behind them."""
        found = [Table(r, f.parent) for f in self.result_files if (r := _object(f))]
        if found or not self.completed:
            return found
        rows = {n: {"accuracy": s} for n, s in self.record.metrics.items() if isinstance(s, dict)}
        return [Table({"task": self.task, "methods": rows}, self.folder)] if rows else []

    @cached_property
    def folders(self) -> list[Path]:
        """Folders with a training: its own, its results', and one for each seed below them."""
        tops = dict.fromkeys([self.folder, *(file.parent for file in self.result_files)])
        return [f for top in tops for f in (top, *sorted(top.glob("seed-*"))) if f.is_dir()]

    def curve(self, folder: Path) -> list[dict[str, Any]]:
        """Lines of the `metrics.jsonl` in a folder; those that a kill cut in two are left out."""
        try:
            lines = RunFolder(folder).metrics.read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        return [row for line in lines if isinstance(row := _parsed(line), dict)]

    def settings(self, folder: Path) -> dict[str, Any]:
        """The `setting` of the `config.json` in a folder."""
        found = (_object(RunFolder(folder).config) or {}).get("setting")
        return found if isinstance(found, dict) else {}


def read_answers(path: Path) -> Answers | None:
    """The answers in a predictions file; None if it is absent, torn or of another form."""
    try:
        rows = read_jsonl(path)
        values = {row["id"]: float(next(iter(row["values"].values()))) for row in rows}
        said = {row["id"]: row["prediction"] for row in rows}
        targets = {row["id"]: row["target"] for row in rows}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration):
        return None
    return Answers(values, said, targets) if values else None


def _object(path: Path) -> dict[str, Any] | None:
    try:
        found = _parsed(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    return found if isinstance(found, dict) else None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
