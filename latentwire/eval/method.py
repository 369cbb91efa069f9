"""The one contract of everything that answers examples: bridges, baselines, controls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from latentwire.core.progress import Progress
from latentwire.data import Example, Task
from latentwire.data.metrics import RIGHT_OR_WRONG, Response, choose, read_text


@dataclass(frozen=True)
class Prediction:
    """One method's answer to one example.

    Args:
        id: The example's id.
        prediction: Index of the chosen answer (None if no score is a number), or the written text.
        target: Index of the right one, or the right texts.
        correct: Whether the answer is right; None where a metric knows only more or less.
        parsed: Whether the answer could be read; one that could not counts as wrong.
        values: Every metric of the task on this example, 0..1; the first is the primary one.
        scores: One score per choice, higher is better; log-likelihoods where a model gave them.
        n_bytes: Bytes that went from sender to receiver; None where nothing is sent.
        text: What the sender wrote, for methods that write.
    """

    id: str
    prediction: int | str | None
    target: int | tuple[str, ...]
    correct: bool | None
    parsed: bool = True
    values: dict[str, float] = field(default_factory=dict)
    scores: tuple[float, ...] = ()
    n_bytes: int | None = None
    text: str | None = None

    @classmethod
    def of(cls, task: Task, example: Example, response: Response, **more: Any) -> Prediction:
        """Read and score a response.

        Args:
            task: Says by which metrics.
            example: With its right answer.
            response: Scores of its choices, or a written answer.
            more: Other fields.
        """
        said: int | str | None
        target: int | tuple[str, ...]
        if example.target is not None:
            said, values = choose(task, example, response)
            target, parsed = example.target, said is not None
        else:
            said, target = response.text or "", example.references
            parsed, values = read_text(task, example, said)
        values = {name: values[name] for name in sorted(values, key=lambda n: n != task.metric)}
        shares = [value for name, value in values.items() if name in RIGHT_OR_WRONG]
        correct = bool(shares[0]) if shares else None
        return cls(example.id, said, target, correct, parsed, values, response.scores, **more)

    @property
    def value(self) -> float:
        """The task's primary metric on this example, 0..1."""
        return next(iter(self.values.values()))

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Prediction:
        """A line of predictions.jsonl, read again."""
        known = dict(row)
        if isinstance(known["target"], list):
            known["target"] = tuple(known["target"])
        if (scores := known.get("scores")) is not None:
            known["scores"] = tuple(scores)
        return cls(**{"correct": None, **known})

    def to_json(self) -> dict[str, Any]:
        """One line of predictions.jsonl."""
        optional = {"scores", "n_bytes", "text", "correct"}
        return {k: v for k, v in asdict(self).items() if k not in optional or v not in (None, ())}


class Method(ABC):
    """Answers examples.

    Attributes:
        name: One name everywhere: command line, files, tables.
        about: What it is, for tables.
        timed: Whether it is a way to answer, whose time means something; controls are not.
        seeded: Whether its answers depend on the seed of a training, a sample or a noise: it is
            then run once for each seed.
        needs_wire: Whether it needs a trained bridge.
        trained: Whether it trains something of its own by steps, with the bridge's budget.
        writes: Whether a model writes text for it, which is slow.
        independent: Whether the answer to one example is the same whatever else is asked; what is
            answered in parts is then what is answered at once.
        version: To be raised when its answers change, so that stored ones are not taken for new.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    timed: ClassVar[bool] = True
    seeded: ClassVar[bool] = False
    needs_wire: ClassVar[bool] = False
    trained: ClassVar[bool] = False
    writes: ClassVar[bool] = False
    independent: ClassVar[bool] = True
    version: ClassVar[int] = 1

    def prepare(self, progress: Progress) -> None:  # noqa: B027 - most methods choose nothing
        """Make every choice (a prompt, a regularisation), on train and val only."""

    def restore(self, settings: Mapping[str, Any]) -> bool:
        """Take the choices of an earlier `prepare` instead of making them again.

        Args:
            settings: What `settings` said then.
        Returns: Whether it could; if not, it is prepared.
        Raises: KeyError, TypeError, ValueError: As good as no: these settings have another form.
        """
        return False

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
