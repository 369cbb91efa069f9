"""Prompt selection on val, shared by all methods with several prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from latentwire.eval.method import Prediction
from latentwire.models import LanguageModel, Receiver

K = TypeVar("K")

TURN, PLAIN = "chat turn", "plain text"


class ReaderPrompt(NamedTuple):
    """Prompt of a model that reads the text.

    Args:
        form: `TURN` or `PLAIN`.
        template: Template of the prompt.
        shots: Number of solved examples per label before the question.
    """

    form: str
    template: str
    shots: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the prompt as part of a record."""
        return {"prompt": self.template, "form": self.form, "shots": self.shots}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ReaderPrompt:
        """Read the prompt from a record. Raises: KeyError."""
        return cls(row["form"], row["prompt"], row["shots"])


@dataclass(frozen=True)
class ValScore:
    """Score of a prompt on val.

    Args:
        score: Mean of the task's primary metric, 0..1, with calibrated labels if that is better.
        plain: Mean without calibration.
        log_prior: Value subtracted from the log-probability of each label; empty without
            calibration.
    """

    score: float
    plain: float
    log_prior: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the score as part of a record."""
        return {"score": self.score, "plain_score": self.plain, "log_prior": list(self.log_prior)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ValScore:
        """Read the score from a record. Raises: KeyError."""
        return cls(row["score"], row["plain_score"], tuple(row["log_prior"]))


@dataclass(frozen=True)
class PromptChoice(Generic[K]):
    """Result of a prompt selection.

    Args:
        prompt: Selected prompt.
        on_val: Score of each prompt on val; empty before the selection.
    """

    prompt: K
    on_val: Mapping[K, ValScore] = field(default_factory=dict)

    @classmethod
    def best(cls, on_val: Mapping[K, ValScore]) -> PromptChoice[K]:
        """Select the prompt with the highest score; ties go to the best without calibration."""
        return cls(max(on_val, key=lambda key: (on_val[key].score, on_val[key].plain)), on_val)

    @property
    def log_prior(self) -> tuple[float, ...]:
        """Log prior of the labels for the chosen prompt; see `ValScore`."""
        return self.on_val[self.prompt].log_prior if self.prompt in self.on_val else ()

    def to_json(self, describe: Callable[[K], Mapping[str, Any]]) -> dict[str, Any]:
        """Return the choice and all scores as a record.

        Args:
            describe: Function that returns the record of a prompt.
        """
        scores = [{**describe(key), **score.to_json()} for key, score in self.on_val.items()]
        return {
            **describe(self.prompt),
            "log_prior": list(self.log_prior),
            "val_score": scores,
        }

    @classmethod
    def from_json(
        cls, row: Mapping[str, Any], read: Callable[[Mapping[str, Any]], K]
    ) -> PromptChoice[K]:
        """Read a choice from a record; `read` is the inverse of `describe`. Raises: KeyError."""
        return cls(read(row), {read(each): ValScore.from_json(each) for each in row["val_score"]})


def own_form(lm: LanguageModel) -> str:
    """Return the prompt form of bridges and fine-tuning: chat turns for chat models."""
    return TURN if lm.is_chat else PLAIN


def readers_by_form(reader: Receiver) -> dict[str, Receiver]:
    """Return the model for each prompt form it can use, its own form first.

    Chat models can also be prompted with plain text, which may be far better for small ones
    (docs/LOG.md, 2026-11-28).
    """
    forms = {own_form(reader.lm): reader}
    return forms if PLAIN in forms else {**forms, PLAIN: Receiver(reader.lm.without_chat())}


def mean_value(predictions: Sequence[Prediction]) -> float:
    """Return the mean of the task's primary metric."""
    return sum(p.value for p in predictions) / len(predictions)


def best_on_val(scores: Mapping[K, float]) -> K:
    """Return the candidate with the highest score, on ties the first."""
    return max(scores, key=scores.__getitem__)
