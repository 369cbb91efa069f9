"""A text in the place where a bridge hands its message: how the receiver is made to read it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from latentwire.baselines.context import Context
from latentwire.baselines.prompts import best_prompt, mean_value
from latentwire.data import Example
from latentwire.eval.method import Method, Prediction
from latentwire.progress import Progress

TEXT = "{text}"


@dataclass(frozen=True)
class Way:
    """How a text is handed over.

    Args:
        prompt: What the receiver reads, with the place `{context}` for the text.
        form: What stands around the text there, the same for all examples, with the place
            `{text}`.
    """

    prompt: str
    form: str = TEXT


def handed_ways(context: Context) -> tuple[Way, ...]:
    """The task's own prompts for something handed over, the text as it is."""
    assert context.setting is not None
    return tuple(Way(prompt) for prompt in context.task.handed_prompts(context.setting))


def read_handed(
    context: Context,
    way: Way,
    examples: Sequence[Example],
    texts: Sequence[str],
    progress: Progress,
    title: str,
    *,
    fresh: bool = False,
) -> list[Prediction]:
    """The receiver's answers when it is handed one text for each example.

    Predictions say the text and its bytes: those of the text alone, as it would travel.
    """
    asker = context.asker(context.receiver.lm, way.prompt)
    return context.answer(
        context.receiver,
        examples,
        [asker.hand(e, way.form.replace(TEXT, text)) for e, text in zip(examples, texts)],
        progress,
        title,
        ranking_only=fresh,
        sent=[{"n_bytes": len(text.encode()), "text": text} for text in texts],
    )


class HandedText(Method):
    """Hands a text to the receiver in the way that does best on val.

    A subclass says which text.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.ways = self.candidates()
        self.way = self.ways[0]
        self.on_val: dict[Way, float] = {}

    def candidates(self) -> tuple[Way, ...]:
        """The ways that are tried on val."""
        return handed_ways(self.context)

    @abstractmethod
    def texts(self, examples: Sequence[Example], progress: Progress, fresh: bool) -> list[str]:
        """The text for each example."""

    def prepare(self, progress: Progress) -> None:
        val = self.context.prompt_val()
        texts = self.texts(val, progress, False)
        self.on_val = {
            way: mean_value(read_handed(self.context, way, val, texts, progress, self.name))
            for way in self.ways
        }
        self.way = best_prompt(self.on_val)

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        texts = self.texts(examples, progress, fresh)
        return read_handed(
            self.context, self.way, examples, texts, progress, self.name, fresh=fresh
        )

    def settings(self) -> dict[str, Any]:
        scores = [{**asdict(way), "score": value} for way, value in self.on_val.items()]
        return {**asdict(self.way), "val_score": scores}
