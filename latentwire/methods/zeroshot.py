"""A model reads all of it itself and answers; no training. Both models, one file: one method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.data.templates import places
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Method, Prediction
from latentwire.methods.label_calibration import Choice, calibrated, judged
from latentwire.methods.prompt_choice import Wording, own_form, readers_by_form
from latentwire.models import Receiver
from latentwire.prompting.builder import PromptBuilder


class ZeroShot(Method):
    """Answers behind the prompt that did best on val.

    A chat model is tried in plain text, too, and fixed labels without what the model favours
    whatever it reads (see `calibrated`).
    """

    version = 3  # 3: calibrated labels

    def __init__(self, context: Context, reader: Receiver) -> None:
        self.context, self.readers = context, readers_by_form(reader)
        self.choice = Choice(Wording(own_form(reader.lm), context.task.prompts[0]))

    @property
    def wording(self) -> Wording:
        """How the model is asked."""
        return self.choice.taken

    @property
    def reader(self) -> Receiver:
        """The model, asked in the form that was chosen."""
        return self.readers[self.wording.form]

    def candidates(self) -> Sequence[Wording]:
        """What is tried on val."""
        prompts = self.context.task.reader_prompts
        return [Wording(form, template) for form in self.readers for template in prompts]

    def prompt_builder(self, wording: Wording) -> PromptBuilder:
        """Renders a prompt for the model."""
        return self.context.prompt_builder(self.readers[wording.form].lm, wording.template)

    def prepare(self, progress: Progress) -> None:
        val = self.context.prompt_val()
        self.choice = Choice.best(
            {
                wording: judged(
                    self.context.task, val, self._answer(wording, val, progress), wording.template
                )
                for wording in self.candidates()
            }
        )

    def restore(self, settings: Mapping[str, Any]) -> bool:
        self.choice = Choice.from_json(settings, Wording.from_json)
        return True

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        answers = self._answer(self.wording, examples, progress, fresh)
        return calibrated(self.context.task, examples, answers, self.choice.log_prior)

    def settings(self) -> dict[str, Any]:
        return self.choice.to_json(Wording.to_json)

    def sizes(self, example: Example) -> tuple[int, ...]:
        """Bytes of the words behind each score of a prediction."""
        if "filled" in places(self.wording.template):
            return (len(example.continuation.encode()),) * len(example.choices)
        return tuple(len(answer.encode()) for answer in self.context.task.answers(example))

    def _answer(
        self,
        wording: Wording,
        examples: Sequence[Example],
        progress: Progress,
        fresh: bool = False,
    ) -> list[Prediction]:
        builder = self.prompt_builder(wording)
        requests = [builder.build(example) for example in examples]
        return self.context.answer(
            self.readers[wording.form],
            examples,
            requests,
            progress,
            self.name,
            ranking_only=fresh,
        )


@METHODS.add("zeroshot_receiver")
class ZeroShotReceiver(ZeroShot):
    """The receiver reads the text."""

    about = "receiver reads the text"
    position = 31
    in_eval = True

    def __init__(self, context: Context) -> None:
        super().__init__(context, context.receiver)


@METHODS.add("zeroshot_sender")
class ZeroShotSender(ZeroShot):
    """The sender reads the text and answers alone."""

    about = "sender reads the text"
    position = 30
    in_eval = True

    def __init__(self, context: Context) -> None:
        super().__init__(context, context.sender_as_reader)
