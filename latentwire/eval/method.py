"""The one contract of everything that answers examples: bridges, baselines, controls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from torch import Tensor

from latentwire.data import Example
from latentwire.progress import Progress


@dataclass(frozen=True)
class Prediction:
    """One method's answer to one example.

    Args:
        id: The example's id.
        prediction: Index of the chosen answer.
        target: Index of the right one.
        correct: Whether they are equal.
        scores: One score per choice, higher is better; log-likelihoods where a model gave them.
        n_bytes: Bytes that went from sender to receiver; None where nothing is sent.
        text: What the sender wrote, for methods that write.
    """

    id: str
    prediction: int
    target: int
    correct: bool
    scores: tuple[float, ...]
    n_bytes: int | None = None
    text: str | None = None

    @classmethod
    def of(cls, example: Example, scores: Tensor | Sequence[float], **more: Any) -> Prediction:
        """The choice with the highest score, the first of equals."""
        values = [float(score) for score in scores]
        best = max(range(len(values)), key=values.__getitem__)
        if example.target is None:
            raise ValueError(f"example '{example.id}' has no target index")
        target = example.target
        return cls(example.id, best, target, best == target, tuple(values), **more)

    def to_json(self) -> dict[str, Any]:
        """One line of predictions.jsonl."""
        return {key: value for key, value in asdict(self).items() if value is not None}


class Method(ABC):
    """Answers examples.

    Attributes:
        name: One name everywhere: command line, files, tables.
        about: What it is, for tables.
        timed: Whether it is a way to answer, whose time means something; controls are not.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    timed: ClassVar[bool] = True

    def prepare(self, progress: Progress) -> None:  # noqa: B027 - most methods choose nothing
        """Make every choice (a prompt, a regularisation), on train and val only."""

    @abstractmethod
    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        """Answer examples, in their order.

        Args:
            examples: With targets, which only the Prediction records.
            progress: Told of each batch.
            fresh: Nothing that depends on an example may come from a cache: text in, answer
                out. Timings ask for it.
        """

    def settings(self) -> dict[str, Any]:
        """What `prepare` chose, JSON-able."""
        return {}
