"""Few-shot: a model reads demonstrations and the question, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from latentwire.core.errors import NotApplicableError, UsageError
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.data.templates import placeholders
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS
from latentwire.methods.demonstrations import (
    FewShotPromptBuilder,
    doublings,
    draw_rounds,
    longest_examples,
    n_fitting,
)
from latentwire.methods.prompt_choice import ReaderPrompt
from latentwire.methods.zeroshot import ZeroShot
from latentwire.prompting.builder import PromptBuilder


class FewShot(ZeroShot):
    """Base class of methods in which a model reads demonstrations, then the question.

    Prompt, form and number of demonstrations are the best on val: 1, 2, 4 .. examples per label,
    as many as fit. More are not always better for a small model.

    Args:
        context: Context of the method.
        shots: Maximum number of demonstrations per label; in total if labels differ per example.
    Source: Brown et al. 2020, Language Models are Few-Shot Learners, arXiv:2005.14165.
    """

    seeded = True
    version = 4  # 4: calibrated labels

    def __init__(self, context: Context, *, shots: int = 4) -> None:
        super().__init__(context)
        if shots < 1:
            raise UsageError(f"shots of {self.name} must be 1 or more, not {shots}.")
        self.max_shots = shots
        self.shown: dict[ReaderPrompt, list[Example]] = {}

    def candidates(self) -> Sequence[ReaderPrompt]:
        return list(self.shown)

    def prompt_builder(self, prompt: ReaderPrompt) -> PromptBuilder:
        lm = self.readers[prompt.form].lm
        return FewShotPromptBuilder(self.context, lm, prompt.template, self.shown[prompt])

    def prepare(self, progress: Progress) -> None:
        context = self.context
        train = context.train_examples()
        rounds = draw_rounds(context, train, self.max_shots)
        longest = longest_examples(context, train)
        self.shown = {}
        for prompt in super().candidates():
            # A prompt with {filled} contains the choice, so there is no answer to demonstrate.
            if "filled" in placeholders(prompt.template):
                continue
            lm = self.readers[prompt.form].lm
            for n in doublings(n_fitting(context, lm, prompt.template, rounds, longest)):
                self.shown[prompt._replace(shots=n)] = [e for each in rounds[:n] for e in each]
        if not self.shown:
            raise NotApplicableError(
                f"{self.name}: '{self.reader.lm.name}' reads {self.reader.lm.max_tokens} tokens; "
                f"one example of each label does not fit into any prompt of "
                f"'{context.task.name}'. Reduce max_tokens to shorten the texts."
            )
        super().prepare(progress)

    def restore(self, settings: Mapping[str, Any]) -> bool:
        known = {example.id: example for example in self.context.train_examples()}
        shown = [known[each] for each in settings["shown"]]
        restored = super().restore(settings)
        self.shown = {self.prompt: shown}
        return restored

    def settings(self) -> dict[str, Any]:
        shown = [example.id for example in self.shown.get(self.prompt, ())]
        return {**super().settings(), "shown": shown}


@METHODS.add("fewshot_receiver")
class FewShotReceiver(FewShot):
    """The receiver reads solved examples and the text."""

    about = "receiver reads solved examples and the text"
    beats = ("zeroshot_receiver",)
    position = 33


@METHODS.add("fewshot_sender")
class FewShotSender(FewShot):
    """The sender reads solved examples and the text, and answers alone."""

    about = "sender reads solved examples and the text"
    beats = ("zeroshot_sender",)
    position = 32
    asks_sender = True
