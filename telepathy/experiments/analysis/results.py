"""Results of each method on each task under each configuration, seeds pooled."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from telepathy.experiments.analysis.analyzed_run import AnalyzedRun, ResultsFile, SeedAnswers
from telepathy.experiments.analysis.config_keys import compared_options, short_name


@dataclass(eq=False)
class PooledResult:
    """One method on one task under one configuration.

    Args:
        task: Name of the task.
        method: Name of the method.
        options: Configuration without task, seed and machine.
        source: Results file of its first run.
        runs: The run of each seed.
        answers: Answers by seed; empty if only scores are known.
        scores: Recorded score by seed.
        label: Options that distinguish it from other configurations of the method; '' if none.
    """

    task: str
    method: str
    options: dict[str, Any]
    source: ResultsFile
    runs: dict[int, AnalyzedRun] = field(default_factory=dict)
    answers: dict[int, SeedAnswers] = field(default_factory=dict)
    scores: dict[int, dict[str, Any]] = field(default_factory=dict)
    label: str = ""

    @property
    def name(self) -> str:
        """Method and label."""
        return f"{self.method} ({self.label})" if self.label else self.method

    @property
    def is_flat(self) -> bool:
        """Whether its options come from a flat configuration; False without options."""
        return bool(self.options) and next(iter(self.runs.values())).is_flat

    @property
    def is_bridge(self) -> bool:
        """Whether the method is the bridge under evaluation."""
        return bool(self.source.traits(self.method)["role"] == "method")

    @property
    def is_blind(self) -> bool:
        """Whether the answers cannot depend on the text."""
        return bool(self.source.traits(self.method)["blind"])

    @property
    def is_blind_control(self) -> bool:
        """Whether it is a control that should know no more than a guess."""
        return self.is_blind and self.source.traits(self.method)["role"] == "control"

    @property
    def setting(self) -> str:
        """Task setting: blind, split or shared."""
        return str((self.source.content.get("asked") or {}).get("setting", "blind"))

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of its runs."""
        return tuple(dict.fromkeys(run.key for run in self.runs.values()))

    @property
    def seeds(self) -> list[int]:
        """Seeds in ascending order."""
        return sorted(self.scores)

    @property
    def chance(self) -> float:
        """Accuracy of a uniform guess; 0 if there is none."""
        return float(self.source.content.get("chance") or 0)

    @property
    def majority(self) -> float:
        """Share of the most common target; 0 if targets are unknown or not choices."""
        answers = next(iter(self.answers.values()), None)
        if answers is None or not answers.is_choice:
            return 0.0
        targets = list(answers.targets.values())
        return max(targets.count(t) for t in set(targets)) / len(targets)

    @property
    def guess(self) -> float:
        """Accuracy of the best guess without the text: the higher of `chance` and `majority`."""
        return max(self.chance, self.majority)

    @cached_property
    def values(self) -> dict[str, float]:
        """Mean over seeds for each example that all seeds answered."""
        if not self.answers:
            return {}
        each = [a.values for a in self.answers.values()]
        shared = sorted(set.intersection(*(set(values) for values in each)))
        return {i: sum(values[i] for values in each) / len(each) for i in shared}

    @cached_property
    def score(self) -> dict[str, Any]:
        """Value with 95 % interval, `n` examples and `n_seeds`.

        Computed from the answers if there are any; otherwise the mean of the recorded scores with
        the Wilson interval for the examples of one seed, which is conservative.
        """
        import numpy as np

        from latentwire.eval.statistics import mean_score, pooled_accuracy, wilson_interval

        if values := self.values:
            matrix = np.array([[a.values[i] for i in values] for a in self.answers.values()])
            if np.isin(matrix, (0.0, 1.0)).all():
                return pooled_accuracy(matrix).to_json()
            return mean_score(list(values.values()), n_seeds=len(matrix)).to_json()
        share = sum(score["value"] for score in self.scores.values()) / len(self.scores)
        n = min(int(score.get("n") or 0) for score in self.scores.values())
        low, high = wilson_interval(share * n, n) if n else (0.0, 1.0)
        return {"value": share, "ci_low": low, "ci_high": high, "n": n, "n_seeds": len(self.scores)}


def pool_results(runs: Iterable[AnalyzedRun]) -> list[PooledResult]:
    """Pool the results of runs by task, method and configuration.

    Results of a method that does not depend on the bridge are pooled across bridge configurations.
    """
    found: dict[tuple[str, str, str], PooledResult] = {}
    for run in runs:
        options = compared_options(run.record.config)
        for file in run.results:
            has_bridge = any(file.traits(m)["role"] == "method" for m in file.methods)
            for method in file.methods:
                own = {} if has_bridge and not file.traits(method)["needs_wire"] else options
                task = str(file.content.get("task") or run.task)
                at = (task, method, json.dumps(own, sort_keys=True, default=str))
                result = found.setdefault(at, PooledResult(task, method, own, file))
                _add(result, run, file)
    results = [result for _, result in sorted(found.items(), key=_position) if result.scores]
    _label(results)
    return results


def _position(item: tuple[tuple[str, str, str], PooledResult]) -> tuple[str, int, str, str]:
    (task, method, options), result = item
    return task, list(result.source.methods).index(method), method, options


def _add(result: PooledResult, run: AnalyzedRun, file: ResultsFile) -> None:
    score = file.score(result.method)
    answers = file.answers(result.method)
    own = run.seed if run.seed is not None else 0
    if not answers and score:
        result.scores.setdefault(own, score)
        result.runs.setdefault(own, run)
    for seed, each in answers.items():
        at = own if seed is None else seed
        if at not in result.answers:
            result.answers[at] = each
            result.scores[at] = {"value": each.mean, "n": len(each.values)}
            result.runs[at] = run


def _label(results: list[PooledResult]) -> None:
    """Label each result with the options that differ among those of its method, on all tasks."""
    by_method: dict[str, list[PooledResult]] = {}
    for result in results:
        by_method.setdefault(result.method, []).append(result)
    for same_method in by_method.values():
        flat = [result for result in same_method if result.is_flat]
        nested = [result for result in same_method if not result.is_flat]
        _label_by_options(flat)
        _label_by_options(nested)
        for result in flat if nested else ():
            result.label = f"{result.label}, flat config".removeprefix(", ")


def _label_by_options(results: list[PooledResult]) -> None:
    keys = sorted({key for result in results for key in result.options})
    differing = [k for k in keys if len({_text(result.options, k) for result in results}) > 1]
    for result in results:
        own = [key for key in differing if key in result.options]
        result.label = ", ".join(f"{short_name(key)}={result.options[key]}" for key in own)
        if differing and not own:
            result.label = "defaults"


def _text(options: Mapping[str, Any], key: str) -> str:
    return json.dumps(options.get(key), default=str)
