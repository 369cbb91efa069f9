"""Zero-shot: a model reads the whole example and answers without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.data.templates import placeholders
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Method, Prediction
from latentwire.methods.label_calibration import calibrate, score_on_val
from latentwire.methods.prompt_choice import PromptChoice, ReaderPrompt, own_form, readers_by_form
from latentwire.models import Receiver
from latentwire.prompting.builder import PromptBuilder


class ZeroShot(Method):
    """Base class of methods in which a model reads the text, with the best prompt on val.

    Chat models are also tried with plain text, and fixed labels with calibration.

    Args:
        context: Context of the method.
    """

    asks_sender: ClassVar[bool] = False
    version = 3  # 3: calibrated labels

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        reader = context.sender_as_reader if self.asks_sender else context.receiver
        self.readers = readers_by_form(reader)
        self.choice = PromptChoice(ReaderPrompt(own_form(reader.lm), context.task.prompts[0]))

    @property
    def prompt(self) -> ReaderPrompt:
        """Selected prompt."""
        return self.choice.prompt

    @property
    def reader(self) -> Receiver:
        """Model for the form of the selected prompt."""
        return self.readers[self.prompt.form]

    def candidates(self) -> Sequence[ReaderPrompt]:
        """Return the prompts that are tried on val."""
        templates = self.context.task.reader_prompts
        return [ReaderPrompt(form, template) for form in self.readers for template in templates]

    def prompt_builder(self, prompt: ReaderPrompt) -> PromptBuilder:
        """Return the builder of a prompt."""
        return self.context.prompt_builder(self.readers[prompt.form].lm, prompt.template)

    def prepare(self, progress: Progress) -> None:
        task, val = self.context.task, self.context.prompt_val()
        on_val = {}
        for prompt in self.candidates():
            answers = self._answer(prompt, val, progress)
            on_val[prompt] = score_on_val(task, val, answers, prompt.template)
        self.choice = PromptChoice.best(on_val)

    def restore(self, settings: Mapping[str, Any]) -> bool:
        self.choice = PromptChoice.from_json(settings, ReaderPrompt.from_json)
        return True

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        answers = self._answer(self.prompt, examples, progress, fresh)
        return calibrate(self.context.task, examples, answers, self.choice.log_prior)

    def settings(self) -> dict[str, Any]:
        return self.choice.to_json(ReaderPrompt.to_json)

    def sizes(self, example: Example) -> tuple[int, ...]:
        """Return the size in bytes of the text that each score of a prediction is for."""
        if "filled" in placeholders(self.prompt.template):
            return (len(example.continuation.encode()),) * len(example.choices)
        return tuple(len(answer.encode()) for answer in self.context.task.answers(example))

    def _answer(
        self,
        prompt: ReaderPrompt,
        examples: Sequence[Example],
        progress: Progress,
        fresh: bool = False,
    ) -> list[Prediction]:
        builder = self.prompt_builder(prompt)
        return self.context.answer(
            self.readers[prompt.form],
            examples,
            [builder.build(example) for example in examples],
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


@METHODS.add("zeroshot_sender")
class ZeroShotSender(ZeroShot):
    """The sender reads the text and answers alone."""

    about = "sender reads the text"
    position = 30
    in_eval = True
    asks_sender = True
