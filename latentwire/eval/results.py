"""Results of an evaluation: scores, paired comparisons, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latentwire.core.files import write_json
from latentwire.core.run_folder import RunFolder
from latentwire.data.metrics import RIGHT_OR_WRONG
from latentwire.eval.method import METHODS, Method, Prediction, Role
from latentwire.eval.options import parse_method
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
"""Answers of one method to the same examples, once per seed."""


@dataclass(frozen=True)
class MethodResult:
    """One row of a table of results.

    Args:
        about: Description of the method.
        role: `method`, `baseline`, `control` or `check`.
        blind: Whether its answers cannot depend on the text.
        needs_wire: Whether it uses the trained bridge.
        metrics: Score of each metric of the task, the primary one first.
        unparsed: Number of unreadable answers, which count as wrong.
        n_bytes: Mean number of bytes sent per example; None if nothing is sent.
        settings: Choices of the method on val.
        ms_per_example: Latency; None if it was not measured.
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

    @classmethod
    def of(
        cls,
        method: type[Method],
        runs: Runs,
        settings: dict[str, Any],
        timing: Timing | None = None,
    ) -> MethodResult:
        """Score the answers of one method.

        Args:
            method: Class of the method.
            runs: Its answers to the same examples, once per seed.
            settings: Its choices on val.
            timing: Its latency, if measured.
        """
        answers = [p for predictions in runs for p in predictions]
        sent = [p.n_bytes for p in answers if p.n_bytes is not None]
        return cls(
            about=method.about,
            role=method.role,
            blind=method.blind,
            needs_wire=method.needs_wire,
            metrics={name: _score(name, runs) for name in answers[0].values},
            unparsed=sum(not p.parsed for p in answers),
            n_bytes=sum(sent) / len(sent) if sent else None,
            settings=settings,
            ms_per_example=timing,
        )

    @property
    def accuracy(self) -> Score | None:
        """Share of correct answers; None for tasks without a binary metric, e.g. ROUGE."""
        shares = [score for name, score in self.metrics.items() if name in RIGHT_OR_WRONG]
        return shares[0] if shares else None

    def to_json(self) -> dict[str, Any]:
        """Return the row as a JSON object."""
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
    """Results of an evaluation: the content of `results.json`.

    Args:
        task: Name of the task.
        split: Split that was answered.
        n: Number of examples.
        metric: Name of the primary metric.
        chance: Accuracy of a uniform guess, 0..1.
        asked: Prompting options: setting, sender prompt, codec, limits, chat turns.
        pair: Names of sender and receiver.
        methods: Rows by name of the method, in the order of the table.
        comparisons: Paired tests of the first method against each other one, with Holm's
            correction.
        verdicts: Conclusions, if the first method is a bridge.
        checks: Paired tests of baselines against methods they should beat, corrected together.
        notes: Notes below the table: sources, samples, truncated texts.
        run: Folder of the run, if there is one.
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
        """Return the results as a JSON object."""
        rows = ("methods", "comparisons", "verdicts", "checks")
        plain = {key: value for key, value in vars(self).items() if key not in rows}
        found = {
            **plain,
            "methods": {name: row.to_json() for name, row in self.methods.items()},
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
            "checks": [comparison.to_json() for comparison in self.checks],
        }
        return {key: found[key] for key in vars(self)}

    def save(self, run: RunFolder) -> None:
        """Write `results.json`."""
        write_json(run.results, self.to_json())


def _score(metric: str, runs: Runs) -> Score:
    values = np.array([[p.values[metric] for p in predictions] for predictions in runs])
    if metric not in RIGHT_OR_WRONG:
        return mean_score(values.mean(0).tolist())
    return accuracy((values[0] == 1).tolist()) if len(values) == 1 else pooled_accuracy(values)


def compare_with_first(answered: Mapping[str, Runs]) -> list[Comparison]:
    """Compare the first method with each other one in paired tests, with Holm's correction.

    For a method with several seeds, the mean over seeds of each example is compared.
    """
    first, *others = answered
    return _compare_pairs(answered, [(first, other) for other in others])


def check_baselines(answered: Mapping[str, Runs]) -> list[Comparison]:
    """Compare baselines with the methods they should beat, with Holm's correction."""
    pairs = [
        (name, other)
        for name in answered
        if (method := parse_method(name).method).role == "baseline"
        for other in method.beats
        if other in answered
    ]
    return _compare_pairs(answered, pairs)


def judge(comparisons: Sequence[Comparison], first: str) -> list[Verdict]:
    """Return the verdicts on the first method; none if its role is not `method`."""
    method = parse_method(first).method
    if method.role != "method":
        return []
    blind = METHODS.names(role="control", blind=True)
    return verdicts(comparisons, bridge=first, blind=blind, rivals=method.beats)


def _compare_pairs(
    answered: Mapping[str, Runs], pairs: Sequence[tuple[str, str]]
) -> list[Comparison]:
    values = {name: _mean_by_example(answered[name]) for pair in pairs for name in pair}
    found = [compare(a, b, values[a], values[b]) for a, b in pairs]
    return holm([comparison for comparison in found if comparison is not None])


def _mean_by_example(runs: Runs) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for predictions in runs:
        for p in predictions:
            values.setdefault(p.id, []).append(p.value)
    return {key: sum(each) / len(each) for key, each in values.items()}


def score_table(
    ids: Sequence[str], answered: Mapping[str, Mapping[int | None, Sequence[Prediction]]]
) -> list[dict[str, str]]:
    """Return the primary metric of every answer, 0..1, with one row per example.

    All figures and tests of an evaluation can be recomputed from this table. Columns are `id`
    and `method` or `method/seed`; a cell is empty if the method did not answer the example.

    Args:
        ids: Ids of the examples, in the order of the rows.
        answered: Answers by method and seed; the seed is None for methods without one.
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
    """Return the shortest text that parses to the same number."""
    return repr(float(value)).removesuffix(".0")
