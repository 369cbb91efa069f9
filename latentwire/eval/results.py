"""What methods answered to the same examples: scored, compared, judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latentwire.core.files import write_json, write_jsonl
from latentwire.core.progress import Progress
from latentwire.core.run_folder import RunFolder
from latentwire.data import Example
from latentwire.data.metrics import RIGHT_OR_WRONG
from latentwire.eval.method import METHODS, Method, Prediction, Role
from latentwire.eval.statistics import (
    Comparison,
    Score,
    accuracy,
    compare,
    holm,
    mean_score,
    pooled_accuracy,
)
from latentwire.eval.timing import Timing
from latentwire.eval.verdict import Verdict, verdicts

Runs = Sequence[Sequence[Prediction]]
"""What one method answered: the same examples, once for each seed."""


@dataclass(frozen=True)
class MethodResult:
    """One row of a results table.

    Args:
        about: Description of the method.
        role: `method`, `baseline`, `control` or `check`.
        blind: Whether its answers cannot depend on the text.
        needs_wire: Whether it depends on the trained bridge.
        metrics: Score of every metric of the task, the primary one first.
        unparsed: Answers that could not be read; they count as wrong.
        n_bytes: Mean bytes sent per example, None where nothing is sent.
        settings: What the method chose on val.
        ms_per_example: None for methods that are not timed.
    """

    about: str
    role: Role
    blind: bool
    needs_wire: bool
    metrics: dict[str, Score]
    unparsed: int
    n_bytes: float | None
    settings: dict[str, Any]
    ms_per_example: Timing | None = None

    @property
    def accuracy(self) -> Score | None:
        """Share of right answers; None for a task that knows only better and worse (ROUGE)."""
        shares = [score for name, score in self.metrics.items() if name in RIGHT_OR_WRONG]
        return shares[0] if shares else None

    def to_json(self) -> dict[str, Any]:
        """The row as a JSON object."""
        timing, accuracy = self.ms_per_example, self.accuracy
        return {
            "about": self.about,
            "role": self.role,
            "blind": self.blind,
            "needs_wire": self.needs_wire,
            "accuracy": accuracy.to_json() if accuracy else None,
            "metrics": {name: score.to_json() for name, score in self.metrics.items()},
            "unparsed": self.unparsed,
            "bytes": self.n_bytes,
            "ms_per_example": timing.to_json() if timing else None,
            "settings": self.settings,
        }


@dataclass(frozen=True)
class Results:
    """A whole evaluation: what `results.json` holds.

    Args:
        task: Name of the task.
        split: The split that was answered.
        n: Examples of that split that were used.
        metric: Name of the primary metric.
        chance: Accuracy of a uniform guess.
        asked: How the task was asked: setting, sender prompt, whether the models got chat turns.
        pair: Names of sender and receiver.
        methods: Rows by method name, in the order they ran.
        comparisons: Paired tests of the first method against each other one, corrected together.
        verdicts: What follows from them, where the first method is the bridge.
        checks: Paired tests of baselines against what they should beat, corrected together.
        notes: What a reader must know: samples, truncation, sources.
        run: The run's folder, if one was written.
        environment: Versions, commit, machine.
    """

    task: str
    split: str
    n: int
    metric: str
    chance: float
    asked: dict[str, Any]
    pair: dict[str, str]
    methods: dict[str, MethodResult]
    comparisons: list[Comparison]
    verdicts: list[Verdict] = field(default_factory=list)
    checks: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    run: str | None = None
    environment: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The results as one JSON object."""
        return {
            "task": self.task,
            "split": self.split,
            "n": self.n,
            "metric": self.metric,
            "chance": self.chance,
            "asked": self.asked,
            "pair": self.pair,
            "methods": {name: row.to_json() for name, row in self.methods.items()},
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
            "checks": [comparison.to_json() for comparison in self.checks],
            "notes": self.notes,
            "run": self.run,
            "environment": self.environment,
        }

    def save(self, run: RunFolder) -> None:
        """Write `results.json`."""
        write_json(run.results, self.to_json())


def run_method(
    method: Method, examples: Sequence[Example], progress: Progress, run: RunFolder | None = None
) -> list[Prediction]:
    """Let a prepared method answer, and keep one line per example if there is a run folder."""
    predictions = method.predict(examples, progress)
    if run is not None:
        write_jsonl(run.predictions(method.name), [p.to_json() for p in predictions])
    return predictions


def summarise(
    method: type[Method], runs: Runs, settings: dict[str, Any], timing: Timing | None = None
) -> MethodResult:
    """Score what one method answered, over all its seeds.

    Args:
        method: The method.
        runs: Its answers to the same examples, once for each seed.
        settings: What it chose on val.
        timing: Milliseconds per example, if it was timed.
    """
    said = [p for predictions in runs for p in predictions]
    sent = [p.n_bytes for p in said if p.n_bytes is not None]
    return MethodResult(
        about=method.about,
        role=method.role,
        blind=method.blind,
        needs_wire=method.needs_wire,
        metrics={name: _score(name, runs) for name in said[0].values},
        unparsed=sum(not p.parsed for p in said),
        n_bytes=sum(sent) / len(sent) if sent else None,
        settings=settings,
        ms_per_example=timing,
    )


def _score(metric: str, runs: Runs) -> Score:
    values = np.array([[p.values[metric] for p in predictions] for predictions in runs])
    if metric not in RIGHT_OR_WRONG:
        return mean_score(values.mean(0).tolist())
    return accuracy((values[0] == 1).tolist()) if len(values) == 1 else pooled_accuracy(values)


def compare_all(answered: Mapping[str, Runs]) -> list[Comparison]:
    """Paired tests of the first method against every other one, with Holm's correction.

    A method that answered with several seeds is taken by its mean for each question.
    """
    first, *others = answered
    return _compare_pairs(answered, [(first, other) for other in others])


def check_all(answered: Mapping[str, Runs]) -> list[Comparison]:
    """Paired tests of baselines against the methods they should beat, with Holm's correction."""
    pairs = [
        (name, other)
        for name in METHODS.names(role="baseline")
        for other in METHODS.get(name).beats
        if name in answered and other in answered
    ]
    return _compare_pairs(answered, pairs)


def judge(comparisons: Sequence[Comparison], first: str) -> list[Verdict]:
    """What the comparisons say about a bridge; nothing where the first method is not one."""
    method = METHODS.get(first)
    if method.role != "method":
        return []
    blind = METHODS.names(role="control", blind=True)
    return verdicts(comparisons, bridge=first, blind=blind, rivals=method.beats)


def _compare_pairs(
    answered: Mapping[str, Runs], pairs: Sequence[tuple[str, str]]
) -> list[Comparison]:
    values = {name: _by_question(answered[name]) for pair in pairs for name in pair}
    found = [compare(a, b, values[a], values[b]) for a, b in pairs]
    return holm([comparison for comparison in found if comparison is not None])


def _by_question(runs: Runs) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for predictions in runs:
        for p in predictions:
            values.setdefault(p.id, []).append(p.value)
    return {question: sum(each) / len(each) for question, each in values.items()}


BySeed = Mapping[int | None, Sequence[Prediction]]
"""What one method answered with each seed; None where it depends on none."""


def score_table(ids: Sequence[str], answered: Mapping[str, BySeed]) -> list[dict[str, str]]:
    """The primary metric of every answer, 0..1: a row for each example, a column for each answerer.

    Columns are `id` and, for each method, `name` or `name/seed`; a cell is empty where a method
    that answered a sample was not asked.

    Args:
        ids: Of the examples, in the order of the rows.
        answered: By method.
    """
    columns = {
        name if seed is None else f"{name}/{seed}": {p.id: _number(p.value) for p in predictions}
        for name, by_seed in answered.items()
        for seed, predictions in by_seed.items()
    }
    return [
        {"id": key, **{column: cells.get(key, "") for column, cells in columns.items()}}
        for key in ids
    ]


def _number(value: float) -> str:
    """As short as it can be read back exactly."""
    return repr(float(value)).removesuffix(".0")
