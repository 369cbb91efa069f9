"""A model is shown solved examples, reads the text and answers; no training. Both models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from latentwire.core.errors import NotApplicableError, UsageError
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.data.templates import places
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS
from latentwire.methods.demonstrations import (
    FewShotPromptBuilder,
    doublings,
    draw_rounds,
    longest_examples,
    n_fitting,
)
from latentwire.methods.prompt_choice import Wording
from latentwire.methods.zeroshot import ZeroShot
from latentwire.models import Receiver
from latentwire.prompting.builder import PromptBuilder


class FewShot(ZeroShot):
    """Answers behind demonstrations, in the prompt and form that do best on val.

    So is their number: 1, 2, 4 .. examples of each label, as many as fit and `shots` at most. More
    are not always better for a small model.

    Source: Brown et al. 2020, Language Models are Few-Shot Learners, arXiv:2005.14165.
    """

    seeded = True
    version = 4  # 4: calibrated labels

    def __init__(self, context: Context, reader: Receiver) -> None:
        super().__init__(context, reader)
        if context.shots < 1:
            raise UsageError(f"shots must be 1 or more, not {context.shots}.")
        self.shown: dict[Wording, list[Example]] = {}

    def candidates(self) -> Sequence[Wording]:
        return list(self.shown)

    def prompt_builder(self, wording: Wording) -> PromptBuilder:
        lm = self.readers[wording.form].lm
        return FewShotPromptBuilder(self.context, lm, wording.template, self.shown[wording])

    def prepare(self, progress: Progress) -> None:
        context = self.context
        train = context.train_examples()
        rounds, longest = draw_rounds(context, train), longest_examples(context, train)
        # A prompt with {filled} asks about each choice in turn: it has no one answer to show.
        able = [w for w in super().candidates() if "filled" not in places(w.template)]
        self.shown = {}
        for w in able:
            most = n_fitting(context, self.readers[w.form].lm, w.template, rounds, longest)
            for n in doublings(most):
                self.shown[w._replace(shots=n)] = [e for each in rounds[:n] for e in each]
        if not self.shown:
            raise NotApplicableError(
                f"{self.name}: '{self.reader.lm.name}' reads {self.reader.lm.max_tokens} tokens; "
                f"no prompt of '{context.task.name}' leaves room for one example of each label. "
                "Shorten the texts (max_tokens)."
            )
        super().prepare(progress)

    def restore(self, settings: Mapping[str, Any]) -> bool:
        known = {example.id: example for example in self.context.train_examples()}
        shown = [known[each] for each in settings["shown"]]
        restored = super().restore(settings)
        self.shown = {self.wording: shown}
        return restored

    def settings(self) -> dict[str, Any]:
        return {
            **super().settings(),
            "shown": [example.id for example in self.shown.get(self.wording, ())],
        }


@METHODS.add("fewshot_receiver")
class FewShotReceiver(FewShot):
    """The receiver reads solved examples and the text."""

    about = "receiver reads solved examples and the text"
    beats = ("zeroshot_receiver",)
    position = 33

    def __init__(self, context: Context) -> None:
        super().__init__(context, context.receiver)


@METHODS.add("fewshot_sender")
class FewShotSender(FewShot):
    """The sender reads solved examples and the text, and answers alone."""

    about = "sender reads solved examples and the text"
    beats = ("zeroshot_sender",)
    position = 32

    def __init__(self, context: Context) -> None:
        super().__init__(context, context.sender_as_reader)
