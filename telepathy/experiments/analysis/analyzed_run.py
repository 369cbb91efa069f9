"""Read-only view of a run: its record and the files of its folder, loaded on demand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from latentwire.core.files import read_jsonl
from latentwire.core.run_folder import RunFolder
from telepathy.experiments.analysis.config_keys import find_value, flatten
from telepathy.experiments.registry.record import COMPLETED, Record

_SEED = re.compile(r"seed-(\d+)")
# Role, blindness and dependence on the bridge of methods in results files that do not state them.
_EARLIER_TRAITS: dict[str, dict[str, Any]] = {
    "bridge": {"role": "method", "blind": False, "needs_wire": True},
    **{
        name: {"role": "control", "blind": True, "needs_wire": True}
        for name in ("zero", "random", "shuffled", "mean", "other_task")
    },
    "prefix_blind": {"role": "control", "blind": True, "needs_wire": False},
    "uniform": {"role": "check", "blind": True, "needs_wire": False},
}
_BASELINE = {"role": "baseline", "blind": False, "needs_wire": False}


@dataclass(frozen=True)
class SeedAnswers:
    """Answers of one method with one seed, by example id.

    Args:
        values: Primary metric, 0..1.
        predictions: Index of a choice, or text, or None.
        targets: Index of the correct choice, or the correct texts.
    """

    values: dict[str, float]
    predictions: dict[str, Any]
    targets: dict[str, Any]

    @property
    def is_choice(self) -> bool:
        """Whether all targets are choices."""
        return bool(self.targets) and all(isinstance(t, int) for t in self.targets.values())

    @property
    def mean(self) -> float:
        """Mean of the primary metric."""
        return sum(self.values.values()) / len(self.values)


@dataclass(frozen=True)
class ResultsFile:
    """One `results.json`, or the metrics of a record if that file is missing.

    Args:
        content: Content of the file.
        folder: Folder with the predictions files.
    """

    content: dict[str, Any]
    folder: Path
    _cache: dict[str, dict[int | None, SeedAnswers]] = field(default_factory=dict, compare=False)

    @property
    def methods(self) -> dict[str, dict[str, Any]]:
        """Rows by method name."""
        return dict(self.content.get("methods") or {})

    def traits(self, method: str) -> dict[str, Any]:
        """Role, blindness and dependence on the bridge of a method."""
        return _EARLIER_TRAITS.get(method, _BASELINE) | self.methods[method]

    def score(self, method: str) -> dict[str, Any] | None:
        """Primary score of a method: value, interval, n."""
        row = self.methods[method]
        score = (row.get("metrics") or {}).get(self.content.get("metric")) or row.get("accuracy")
        return score if isinstance(score, dict) and "value" in score else None

    def answers(self, method: str) -> dict[int | None, SeedAnswers]:
        """Answers of a method by seed; the seed is None if the folder does not name one."""
        if method not in self._cache:
            self._cache[method] = dict(self._read(method))
        return self._cache[method]

    def _read(self, method: str) -> Iterator[tuple[int | None, SeedAnswers]]:
        for folder in (self.folder, *sorted(self.folder.glob("seed-*"))):
            seed = _SEED.fullmatch(folder.name) if folder != self.folder else None
            if found := read_answers(RunFolder(folder).predictions(method)):
                yield int(seed[1]) if seed else None, found


class AnalyzedRun:
    """A record and its run folder.

    Args:
        record: Current record.
        folder: Run folder.
        superseded: Whether its name has a newer configuration.
    """

    def __init__(self, record: Record, folder: Path, superseded: bool = False) -> None:
        self.record, self.folder, self.superseded = record, folder, superseded
        self.key = record.key

    @property
    def completed(self) -> bool:
        """Whether the run is completed."""
        return self.record.state == COMPLETED

    @property
    def is_flat(self) -> bool:
        """Whether its configuration is not an `ExperimentConfig`: shell jobs, earlier versions."""
        return not isinstance(self.record.config.get("task"), Mapping)

    @property
    def task(self) -> str:
        """Task in its configuration; '' if there is none."""
        return str(find_value(self.record.config, "task", "dataset") or "")

    @property
    def seed(self) -> int | None:
        """Seed in its configuration."""
        found = find_value(self.record.config, "seed")
        return found if isinstance(found, int) else None

    @property
    def method(self) -> str:
        """Only method in its configuration; '' if there is none."""
        return str(find_value(self.record.config, "method", "baseline") or "")

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Properties in which it may differ from other runs: options, host, GPU, commit."""
        r = self.record
        place = {"host": r.host, "gpu": r.gpu, "commit": r.commit, "dirty": r.dirty}
        return flatten(r.config) | {name: value for name, value in place.items() if value != ""}

    @cached_property
    def result_files(self) -> list[Path]:
        """Its results files: the one named in the record, else those in its folder."""
        own = self.folder / "results.json"
        named = Path(self.record.result_file) if self.record.result_file else own
        for file in (named, own):
            if file.is_file():
                return [file]
        return sorted(self.folder.glob("*/results.json"))

    @cached_property
    def results(self) -> list[ResultsFile]:
        """Its results, with access to the answers."""
        found = [ResultsFile(r, f.parent) for f in self.result_files if (r := _read_object(f))]
        if found or not self.completed:
            return found
        rows = {n: {"accuracy": s} for n, s in self.record.metrics.items() if isinstance(s, dict)}
        return [ResultsFile({"task": self.task, "methods": rows}, self.folder)] if rows else []

    @cached_property
    def training_folders(self) -> list[Path]:
        """Folders that may hold a training: its own, those of its results, and one per seed."""
        tops = dict.fromkeys([self.folder, *(file.parent for file in self.result_files)])
        return [f for top in tops for f in (top, *sorted(top.glob("seed-*"))) if f.is_dir()]

    def curve(self, folder: Path) -> list[dict[str, Any]]:
        """Rows of the `metrics.jsonl` in a folder; truncated lines are skipped."""
        try:
            lines = RunFolder(folder).metrics.read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        return [row for line in lines if isinstance(row := _parse(line), dict)]

    def saved_options(self, folder: Path) -> dict[str, Any]:
        """Options in the `config.json` of a folder, by section."""
        found = (_read_object(RunFolder(folder).config) or {}).get("setting")
        return found if isinstance(found, dict) else {}


def read_answers(path: Path) -> SeedAnswers | None:
    """Read a predictions file; None if it is missing or not valid."""
    try:
        rows = read_jsonl(path)
        values = {row["id"]: float(next(iter(row["values"].values()))) for row in rows}
        predictions = {row["id"]: row["prediction"] for row in rows}
        targets = {row["id"]: row["target"] for row in rows}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration):
        return None
    return SeedAnswers(values, predictions, targets) if values else None


def _read_object(path: Path) -> dict[str, Any] | None:
    try:
        found = _parse(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    return found if isinstance(found, dict) else None


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
