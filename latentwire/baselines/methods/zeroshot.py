"""A model reads all of it itself and answers; no training. Both models, one file: one method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from latentwire.asking import Asker
from latentwire.baselines.context import METHODS, Context
from latentwire.baselines.prompts import best_prompt, mean_value
from latentwire.data import Example
from latentwire.data.templates import places
from latentwire.eval.method import Method, Prediction
from latentwire.models import Receiver
from latentwire.progress import Progress


class ZeroShot(Method):
    """Answers behind the prompt that did best on val."""

    def __init__(self, context: Context, reader: Receiver) -> None:
        self.context, self.reader = context, reader
        self.template = context.task.prompts[0]
        self.on_val: dict[str, float] = {}

    def candidates(self) -> Sequence[str]:
        """The prompts that are tried on val."""
        return self.context.task.reader_prompts

    def asker(self, template: str) -> Asker:
        """Renders a prompt for the model."""
        return self.context.asker(self.reader.lm, template)

    def prepare(self, progress: Progress) -> None:
        val = self.context.prompt_val()
        self.on_val = {
            template: mean_value(self._answer(template, val, progress))
            for template in self.candidates()
        }
        self.template = best_prompt(self.on_val)

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        return self._answer(self.template, examples, progress, fresh)

    def settings(self) -> dict[str, Any]:
        return {"prompt": self.template, "val_score_by_prompt": self.on_val}

    def sizes(self, example: Example) -> tuple[int, ...]:
        """Bytes of the words behind each score of a prediction."""
        if "filled" in places(self.template):
            return (len(example.continuation.encode()),) * len(example.choices)
        return tuple(len(answer.encode()) for answer in self.context.task.answers(example))

    def _answer(
        self,
        template: str,
        examples: Sequence[Example],
        progress: Progress,
        fresh: bool = False,
    ) -> list[Prediction]:
        asker = self.asker(template)
        requests = [asker.read(example) for example in examples]
        return self.context.answer(
            self.reader, examples, requests, progress, self.name, ranking_only=fresh
        )


@METHODS.add("zeroshot_receiver")
class ZeroShotReceiver(ZeroShot):
    """The receiver reads the text."""

    name = "zeroshot_receiver"
    about = "receiver reads the text"

    def __init__(self, context: Context) -> None:
        super().__init__(context, context.receiver)


@METHODS.add("zeroshot_sender")
class ZeroShotSender(ZeroShot):
    """The sender reads the text and answers alone."""

    name = "zeroshot_sender"
    about = "sender reads the text"

    def __init__(self, context: Context) -> None:
        super().__init__(context, context.sender_as_reader)
