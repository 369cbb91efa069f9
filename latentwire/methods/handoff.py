"""A text in the place where a bridge hands its message: how the receiver is made to read it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.context import Context
from latentwire.eval.method import Method, Prediction
from latentwire.methods.label_calibration import Choice, OnVal, calibrated, judged

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
    return tuple(Way(prompt) for prompt in context.task.handoff_prompts(context.setting))


def read_handed(
    context: Context,
    way: Way,
    examples: Sequence[Example],
    texts: Sequence[str],
    progress: Progress,
    title: str,
    *,
    log_prior: Sequence[float] = (),
    fresh: bool = False,
) -> list[Prediction]:
    """The receiver's answers when it is handed one text for each example, calibrated with a prior.

    Predictions say the text and its bytes: those of the text alone, as it would travel.
    """
    builder = context.prompt_builder(context.receiver.lm, way.prompt)
    answers = context.answer(
        context.receiver,
        examples,
        [
            builder.build_handoff(e, way.form.replace(TEXT, text))
            for e, text in zip(examples, texts)
        ],
        progress,
        title,
        ranking_only=fresh,
        sent=[{"n_bytes": len(text.encode()), "text": text} for text in texts],
    )
    return calibrated(context.task, examples, answers, log_prior)


def handed_on_val(
    context: Context, way: Way, texts: Sequence[str], progress: Progress, title: str
) -> OnVal:
    """What a way scores on the val examples of prompts, for each of which there is a text."""
    val = context.prompt_val()
    answers = read_handed(context, way, val, texts, progress, title)
    return judged(context.task, val, answers, way.prompt)


class HandedText(Method):
    """Hands a text to the receiver in the way that does best on val.

    A subclass says which text.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.ways = self.candidates()
        self.choice = Choice(self.ways[0])

    def candidates(self) -> tuple[Way, ...]:
        """The ways that are tried on val."""
        return handed_ways(self.context)

    @abstractmethod
    def texts(self, examples: Sequence[Example], progress: Progress, fresh: bool) -> list[str]:
        """The text for each example."""

    def prepare(self, progress: Progress) -> None:
        texts = self.texts(self.context.prompt_val(), progress, False)
        self.choice = Choice.best(
            {way: handed_on_val(self.context, way, texts, progress, self.name) for way in self.ways}
        )

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        return read_handed(
            self.context,
            self.choice.taken,
            examples,
            self.texts(examples, progress, fresh),
            progress,
            self.name,
            log_prior=self.choice.log_prior,
            fresh=fresh,
        )

    def settings(self) -> dict[str, Any]:
        return self.choice.to_json(asdict)
