"""Answers without what a model favours whatever it reads, where that is better on val."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from scipy.special import log_softmax

from latentwire.data import Example, Task
from latentwire.data.metrics import Response
from latentwire.data.templates import places
from latentwire.eval.method import Prediction
from latentwire.eval.notes import has_label_prior
from latentwire.methods.prompt_choice import mean_value

K = TypeVar("K")
_LEAST = float(np.finfo(float).tiny)


@dataclass(frozen=True)
class OnVal:
    """What one way to ask scored on val.

    Args:
        score: Mean of the task's primary metric, calibrated (by priors that each answer had no
            part in) if that is better.
        plain: The same of the answers as they are.
        log_prior: What is taken from the log-probability of each label; empty for plain answers.
    """

    score: float
    plain: float
    log_prior: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For a record."""
        return {"score": self.score, "plain_score": self.plain, "log_prior": list(self.log_prior)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> OnVal:
        """From a record. Raises: KeyError."""
        return cls(row["score"], row["plain_score"], tuple(row["log_prior"]))


def judged(
    task: Task, val: Sequence[Example], answers: Sequence[Prediction], template: str
) -> OnVal:
    """Score a model's answers to val as they are and calibrated.

    Only labels can be calibrated (see `has_label_prior`), and only where
    all of them follow one prompt.

    Args:
        task: Scores the answers.
        val: What was asked.
        answers: To these examples, as they are.
        template: The prompt's template.
    """
    plain = mean_value(answers)
    if not has_label_prior(task) or "filled" in places(template):
        return OnVal(plain, plain)
    halves = [(val[i::2], answers[i::2]) for i in (0, 1)]
    if not all(asked for asked, _ in halves):
        return OnVal(plain, plain)
    # A prior is an estimate: each half is scored with that of the other.
    crossed = [
        calibrated(task, asked, said, log_prior(other))
        for (asked, said), (_, other) in zip(halves, halves[::-1])
    ]
    score = mean_value([answer for half in crossed for answer in half])
    return OnVal(score, plain, log_prior(answers)) if score > plain else OnVal(plain, plain)


def log_prior(answers: Sequence[Prediction]) -> tuple[float, ...]:
    """Log of the mean probability that a model gives each label; right labels are not looked at.

    Source: Zhou et al. 2024, Batch Calibration, arXiv:2309.17249.
    """
    shares = np.exp([log_shares(answer.scores) for answer in answers])
    return tuple(np.log(np.maximum(shares.mean(0), _LEAST)).tolist())


def calibrated(
    task: Task,
    examples: Sequence[Example],
    answers: Sequence[Prediction],
    prior: Sequence[float],
) -> list[Prediction]:
    """The answers when each label's probability is divided by its prior; as they are without one.

    A model that says the same label to nearly every text may still order the texts well. What
    could not be read stays so: a prior alone is no answer.
    """
    if not prior:
        return list(answers)
    return [
        Prediction.of(
            task,
            example,
            Response(tuple(s - p for s, p in zip(log_shares(answer.scores), prior))),
            n_bytes=answer.n_bytes,
            text=answer.text,
        )
        if answer.parsed
        else answer
        for example, answer in zip(examples, answers)
    ]


@dataclass(frozen=True)
class Choice(Generic[K]):
    """Which of several ways to ask is taken.

    Args:
        taken: The way.
        on_val: What each way scored on val; empty before val was asked.
    """

    taken: K
    on_val: Mapping[K, OnVal] = field(default_factory=dict)

    @classmethod
    def best(cls, on_val: Mapping[K, OnVal]) -> Choice[K]:
        """The way with the highest score on val; of equals the best without a prior."""
        return cls(max(on_val, key=lambda way: (on_val[way].score, on_val[way].plain)), on_val)

    @property
    def log_prior(self) -> tuple[float, ...]:
        """What is taken from the labels of an answer to the chosen way, see `OnVal`."""
        return self.on_val[self.taken].log_prior if self.taken in self.on_val else ()

    def to_json(self, told: Callable[[K], Mapping[str, Any]]) -> dict[str, Any]:
        """For a record: what was taken and what each way scored; `told` says a way in words."""
        return {
            **told(self.taken),
            "log_prior": list(self.log_prior),
            "val_score": [{**told(way), **found.to_json()} for way, found in self.on_val.items()],
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any], way: Callable[[Mapping[str, Any]], K]) -> Choice[K]:
        """From a record; `way` undoes what `told` did. Raises: KeyError."""
        return cls(way(row), {way(each): OnVal.from_json(each) for each in row["val_score"]})


def log_shares(scores: Sequence[float], sizes: Sequence[int] = ()) -> tuple[float, ...]:
    """Log-softmax of the scores of some choices, per byte where there are sizes.

    A score that is no number has no share; if none is a number, all choices have the same.
    """
    values = np.nan_to_num(np.array(scores), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    if not np.isfinite(values).any():
        values = np.zeros_like(values)
    if sizes:
        values = values / np.array(sizes)
    return tuple(log_softmax(values).tolist())
