"""What each method reached on each task under each configuration, its seeds pooled."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from telepathy.experiments.analysis.run import Answers, Run, Table
from telepathy.experiments.analysis.settings import leaf, setting_of

CONTROLS = ("zero", "random", "shuffled", "mean", "other_task")
"""Bridges with a tampered message: they should know no more than a guess."""
BLIND = (*CONTROLS, "prefix_blind", "uniform")
"""What does not see the text; answers alike, or by chance, are what it should give."""
WIRED = ("bridge", *CONTROLS)
"""What depends on the settings of the bridge that stands beside it."""


@dataclass(eq=False)
class Cell:
    """One method on one task under one configuration.

    Args:
        task: Name of the task.
        method: Name of the method.
        setting: The configuration without task, seed and place.
        found: The results that its first run wrote.
        runs: Key of each run.
        answers: By seed; empty where only scores are known.
        scores: By seed: what was written as the score.
        label: What sets its configuration apart from the method's others; '' if nothing.
    """

    task: str
    method: str
    setting: dict[str, Any]
    found: dict[str, Any]
    runs: dict[int, Run] = field(default_factory=dict)
    answers: dict[int, Answers] = field(default_factory=dict)
    scores: dict[int, dict[str, Any]] = field(default_factory=dict)
    label: str = ""

    @property
    def name(self) -> str:
        """Method and what sets its configuration apart."""
        return f"{self.method} ({self.label})" if self.label else self.method

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of its runs."""
        return tuple(dict.fromkeys(run.key for run in self.runs.values()))

    @property
    def seeds(self) -> list[int]:
        """Its seeds."""
        return sorted(self.scores)

    @property
    def chance(self) -> float:
        """Accuracy of a uniform guess; 0 where there is none."""
        return float(self.found.get("chance") or 0)

    @property
    def majority(self) -> float:
        """Share of the commonest right answer; 0 where targets are unknown or no choices."""
        answers = next(iter(self.answers.values()), None)
        if answers is None or not answers.chooses:
            return 0.0
        targets = list(answers.targets.values())
        return max(targets.count(t) for t in set(targets)) / len(targets)

    @property
    def guess(self) -> float:
        """What an answer without reading reaches: chance, or the commonest answer if better."""
        return max(self.chance, self.majority)

    @cached_property
    def values(self) -> dict[str, float]:
        """Mean over the seeds for each question that all of them answered."""
        if not self.answers:
            return {}
        each = [a.values for a in self.answers.values()]
        shared = sorted(set.intersection(*(set(values) for values in each)))
        return {i: sum(values[i] for values in each) / len(each) for i in shared}

    @cached_property
    def score(self) -> dict[str, Any]:
        """Value with its 95 % interval, `n` questions and `n_seeds`.

        From the answers where they are there; else the mean of the seeds' scores with Wilson's
        interval for the questions of one seed, which is wide enough.
        """
        import numpy as np

        from latentwire.eval.statistics import mean_score, pooled_accuracy
        from latentwire.eval.statistics.wilson import wilson_interval

        if values := self.values:
            matrix = np.array([[a.values[i] for i in values] for a in self.answers.values()])
            if np.isin(matrix, (0.0, 1.0)).all():
                return pooled_accuracy(matrix).to_json()
            return mean_score(list(values.values()), n_seeds=len(matrix)).to_json()
        share = sum(score["value"] for score in self.scores.values()) / len(self.scores)
        n = min(int(score.get("n") or 0) for score in self.scores.values())
        low, high = wilson_interval(share * n, n) if n else (0.0, 1.0)
        return {"value": share, "ci_low": low, "ci_high": high, "n": n, "n_seeds": len(self.scores)}


def cells_of(runs: Iterable[Run]) -> list[Cell]:
    """All cells, by task, method (in the order of its results) and configuration.

    Of a method that needs no bridge, what it answered beside bridges of other settings is one
    cell: the settings say nothing about it.
    """
    found: dict[tuple[str, str, str], Cell] = {}
    for run in runs:
        setting = setting_of(run.record.config)
        for table in run.tables:
            for method in table.methods:
                own = setting
                if method not in WIRED and "bridge" in table.methods:
                    own = {}
                task = str(table.found.get("task") or run.task)
                at = (task, method, json.dumps(own, sort_keys=True, default=str))
                cell = found.setdefault(at, Cell(task, method, own, table.found))
                _take(cell, run, table)
    cells = [cell for _, cell in sorted(found.items(), key=_place) if cell.scores]
    _label(cells)
    return cells


def _place(item: tuple[tuple[str, str, str], Cell]) -> tuple[str, int, str, str]:
    (task, method, setting), cell = item
    return task, list(cell.found["methods"]).index(method), method, setting


def _take(cell: Cell, run: Run, table: Table) -> None:
    score = table.score(cell.method)
    answers = table.answers(cell.method)
    own = run.seed if run.seed is not None else 0
    if not answers and score:
        cell.scores.setdefault(own, score)
        cell.runs.setdefault(own, run)
    for seed, each in answers.items():
        at = own if seed is None else seed
        if at not in cell.answers:
            mean = sum(each.values.values()) / len(each.values)
            cell.answers[at] = each
            cell.scores[at] = {"value": mean, "n": len(each.values)}
            cell.runs[at] = run


def _label(cells: list[Cell]) -> None:
    """Name of each cell the settings in which those of its method differ, the same on all tasks."""
    by_method: dict[str, list[Cell]] = {}
    for cell in cells:
        by_method.setdefault(cell.method, []).append(cell)
    for alike in by_method.values():
        keys = sorted({key for cell in alike for key in cell.setting})
        differing = [k for k in keys if len({_text(cell.setting, k) for cell in alike}) > 1]
        for cell in alike:
            own = [key for key in differing if key in cell.setting]
            cell.label = ", ".join(f"{leaf(key)}={cell.setting[key]}" for key in own)
            if differing and not own:
                cell.label = "defaults"


def _text(setting: Mapping[str, Any], key: str) -> str:
    return json.dumps(setting.get(key), default=str)
