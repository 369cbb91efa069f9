"""Pool of the methods of one context, which prepares each once and keeps their answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from latentwire.core.errors import NotApplicableError, UsageError
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.method import Method, Prediction
from latentwire.eval.options import parse_method

if TYPE_CHECKING:
    from latentwire.eval.context import Context

V = TypeVar("V")


class MethodPool:
    """Builds and prepares the methods of a context, and keeps their answers.

    Methods that depend on other methods get them here, so each example is answered once.

    Args:
        context: Context of all methods.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._methods: dict[str, Method] = {}
        self._prepared: set[str] = set()
        # Examples are the keys, since ids may repeat across splits.
        self._answers: dict[str, dict[Example, Prediction]] = {}
        self._settings: dict[str, Mapping[str, Any]] = {}

    def get(self, name: str) -> Method:
        """Return a method, built on the first call.

        Args:
            name: Name of the method, options included.
        Raises: UnknownNameError; UsageError: If an option is wrong. NotApplicableError: If the
            method does not apply to the task.
        """
        spec = parse_method(name)
        if spec.name not in self._methods:
            self._methods[spec.name] = spec.build(self._context)
        return self._methods[spec.name]

    def applies(self, name: str) -> bool:
        """Return whether a method can be built for the task; its `prepare` may still fail."""
        try:
            self.get(name)
        except NotApplicableError:
            return False
        return True

    def prepared(self, name: str, progress: Progress) -> Method:
        """Return a method, prepared or restored on the first call.

        Raises: UnknownNameError; NotApplicableError: If the method does not apply to the task.
        """
        method = self.get(name)
        if method.name not in self._prepared:
            if not self._restored(method):
                method.prepare(progress)
            self._prepared.add(method.name)
        return method

    def predictions(
        self, name: str, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        """Return a method's answers in the order of the examples, computing missing ones.

        Args:
            name: Name of an `independent` method.
            examples: Examples to answer.
            progress: Called with progress updates.
            fresh: True to answer without caches; see `Method.predict`.
        """
        if fresh:
            return self.prepared(name, progress).predict(examples, progress, fresh=True)
        return complete(
            self._answers.setdefault(name, {}),
            examples,
            lambda missing: self.prepared(name, progress).predict(missing, progress),
        )

    def remember(
        self,
        name: str,
        examples: Sequence[Example],
        predictions: Sequence[Prediction],
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Add answers that were computed elsewhere.

        Args:
            name: Name of the method.
            examples: Examples that it answered.
            predictions: Its answers, in the order of the examples.
            settings: Its choices, restored before it answers further examples.
        Raises: UsageError: If the answers do not belong to the examples.
        """
        if [e.id for e in examples] != [p.id for p in predictions]:
            raise UsageError(
                f"The answers of '{name}' have other ids than the examples, or another order."
            )
        self._answers.setdefault(name, {}).update(zip(examples, predictions))
        if settings is not None:
            self._settings[name] = settings

    def _restored(self, method: Method) -> bool:
        known = self._settings.get(method.name)
        try:
            return known is not None and method.restore(known)
        except (KeyError, TypeError, ValueError):
            return False  # record of another format


def complete(
    known: dict[Example, V],
    examples: Sequence[Example],
    compute: Callable[[list[Example]], list[V]],
) -> list[V]:
    """Return the value of each example; missing values are computed in one call and added."""
    missing = [example for example in dict.fromkeys(examples) if example not in known]
    if missing:
        known.update(zip(missing, compute(missing), strict=True))
    return [known[example] for example in examples]
