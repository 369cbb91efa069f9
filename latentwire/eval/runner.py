"""Run methods on the same examples; keep each answer, score them, compare them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from latentwire.data import Example
from latentwire.eval.method import Method, Prediction
from latentwire.eval.statistics import Comparison, Score, accuracy, compare, mean_score
from latentwire.eval.timing import Timing
from latentwire.files import write_json, write_jsonl
from latentwire.metrics import RIGHT_OR_WRONG
from latentwire.progress import Progress
from latentwire.run_folder import RunFolder


@dataclass(frozen=True)
class MethodResult:
    """One row of a results table.

    Args:
        about: What the method is.
        metrics: Score of every metric of the task, the primary one first.
        unparsed: Answers that could not be read; they count as wrong.
        n_bytes: Mean bytes sent per example, None where nothing is sent.
        settings: What the method chose on val.
        ms_per_example: None for methods that are not timed.
    """

    about: str
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
        comparisons: Paired tests of the first method against each other one.
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
    """Prepare a method, let it answer, and keep one line per example if there is a run folder."""
    method.prepare(progress)
    predictions = method.predict(examples, progress)
    if run is not None:
        write_jsonl(run.predictions(method.name), [p.to_json() for p in predictions])
    return predictions


def summarise(
    method: Method, predictions: Sequence[Prediction], timing: Timing | None
) -> MethodResult:
    """Score one method's predictions."""
    sent = [p.n_bytes for p in predictions if p.n_bytes is not None]
    metrics = {}
    for name in predictions[0].values:
        values = [p.values[name] for p in predictions]
        right_or_wrong = name in RIGHT_OR_WRONG
        metrics[name] = accuracy([v == 1 for v in values]) if right_or_wrong else mean_score(values)
    return MethodResult(
        about=method.about,
        metrics=metrics,
        unparsed=sum(not p.parsed for p in predictions),
        n_bytes=sum(sent) / len(sent) if sent else None,
        settings=method.settings(),
        ms_per_example=timing,
    )


def compare_all(predictions: dict[str, list[Prediction]]) -> list[Comparison]:
    """Paired tests of the first method against every other one."""
    values = {name: {p.id: p.value for p in answered} for name, answered in predictions.items()}
    first, *others = values
    found = [compare(first, other, values[first], values[other]) for other in others]
    return [comparison for comparison in found if comparison is not None]
