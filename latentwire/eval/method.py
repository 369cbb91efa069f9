"""Contract of everything that answers examples, and the catalogue of all methods."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from latentwire.core.catalogue import Catalogue
from latentwire.core.progress import Progress
from latentwire.data import Example, Task
from latentwire.data.metrics import RIGHT_OR_WRONG, Response, choose, read_text

if TYPE_CHECKING:
    from latentwire.eval.context import Context

Role = Literal["method", "baseline", "control", "check"]
Value = int | float | bool | str
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Prediction:
    """One method's answer to one example.

    Args:
        id: Id of the example.
        prediction: Index of the chosen answer (None if no score is a number), or the written text.
        target: Index of the right choice, or the reference answers.
        correct: Whether the answer is right; None if no metric is binary.
        parsed: Whether the answer could be read. An unreadable answer counts as wrong.
        values: Value of each metric of the task on this example, 0..1, the primary metric first.
        scores: Score of each choice, higher is better; log-likelihoods if a model scored them.
        n_bytes: Bytes sent from sender to receiver; None if nothing is sent.
        text: Text that the sender wrote, for methods that write.
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
            task: Task, which names the metrics.
            example: Example with its right answer.
            response: Scores of the choices, or a written answer.
            more: Further fields of the prediction.
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
        """Value of the task's primary metric on this example, 0..1."""
        return next(iter(self.values.values()))

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Prediction:
        """Return the prediction of a line of predictions.jsonl."""
        known = dict(row)
        if isinstance(known["target"], list):
            known["target"] = tuple(known["target"])
        if (scores := known.get("scores")) is not None:
            known["scores"] = tuple(scores)
        return cls(**{"correct": None, **known})

    def to_json(self) -> dict[str, Any]:
        """Return the line of predictions.jsonl."""
        optional = {"scores", "n_bytes", "text", "correct"}
        return {k: v for k, v in asdict(self).items() if k not in optional or v not in (None, ())}


class Method(ABC):
    """Base class of everything that answers examples: bridges, baselines, controls, checks.

    A method is one class, registered with `@METHODS.add("name")`. It must define `about` and
    `predict`. Its options are the keyword-only arguments of its constructor.

    Args:
        context: Task, models and services that methods share.

    Attributes:
        name: Name on the command line, in files and in tables; set by `METHODS.add`. An instance
            with explicit options has them in its name: `lora:rank=16`.
        work: Folder where the method keeps what it trains, so that it can be resumed; None keeps
            nothing.
        about: Description of at most 60 characters, for tables and help texts.
        role: `method` is the kind of method under evaluation, `baseline` an alternative to it,
            `control` a version with an ingredient removed, `check` a test of task and scoring.
        blind: True if the answers cannot depend on the text of the example.
        beats: Names of methods that this one is expected to beat. Results test each pair.
        position: Position in tables and in execution order, ascending.
        in_eval: True if `latentwire eval` runs the method by default.
        timed: True if its latency is measured; controls and checks are not timed.
        seeded: True if the answers depend on the random seed. The method is then run once per
            seed.
        needs_wire: True if it needs a trained bridge.
        trained: True if it trains for a number of steps, with the budget of the bridge.
        writes: True if a model generates text, which is slow.
        independent: True if the answer to an example does not depend on the other examples of
            the same call. Such a method is answered and stored in batches.
        version: Version of its answers. Increment it when they change, so that stored answers of
            an earlier version are not reused.
    """

    name: str = ""
    work: Path | None = None
    about: ClassVar[str]
    role: ClassVar[Role] = "baseline"
    blind: ClassVar[bool] = False
    beats: ClassVar[tuple[str, ...]] = ()
    position: ClassVar[int] = 80
    in_eval: ClassVar[bool] = False
    timed: ClassVar[bool] = True
    seeded: ClassVar[bool] = False
    needs_wire: ClassVar[bool] = False
    trained: ClassVar[bool] = False
    writes: ClassVar[bool] = False
    independent: ClassVar[bool] = True
    version: ClassVar[int] = 1

    def __init__(self, context: Context) -> None:
        self.context = context

    @classmethod
    def options(cls) -> dict[str, Value]:
        """Return the options with their defaults: the keyword-only constructor arguments."""
        parameters = inspect.signature(cls).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    def prepare(self, progress: Progress) -> None:  # noqa: B027 - most methods choose nothing
        """Make every choice (prompt, regularization, weights) on the train and val splits only."""

    def restore(self, settings: Mapping[str, Any]) -> bool:
        """Restore the choices of an earlier `prepare` instead of making them again.

        Args:
            settings: Return value of `settings` at that time.
        Returns: True on success; False to have `prepare` called.
        Raises: KeyError, TypeError, ValueError: If the settings have another format; `prepare` is
            called then, too.
        """
        return False

    @abstractmethod
    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        """Answer examples, in their order.

        Args:
            examples: Examples with targets, which only `Prediction.of` may read.
            progress: Called with progress updates.
            fresh: True to compute everything without caches, for timing.
        """

    def settings(self) -> dict[str, Any]:
        """Return the choices of `prepare`, JSON-serializable."""
        return {}


class MethodCatalogue(Catalogue[type[Method]]):
    """Catalogue of methods that answers questions about their attributes."""

    def names(self, **attributes: Any) -> list[str]:
        """Return the names of methods in table order.

        Args:
            attributes: Values that class attributes must have, e.g. `role="control"`.
        """
        methods = {name: self.get(name) for name in super().names()}
        return [
            name
            for name in sorted(methods, key=lambda name: (methods[name].position, name))
            if all(getattr(methods[name], key) == value for key, value in attributes.items())
        ]


METHODS = MethodCatalogue(
    "method",
    "latentwire.methods",
    "latentwire.methods",
    "latentwire.baselines.methods",
    name_attribute="name",
    required=("about",),
)
