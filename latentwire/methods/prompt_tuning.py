"""Prompt tuning: learned soft tokens before the text, which the receiver reads itself."""

from __future__ import annotations

from latentwire.core.progress import Progress
from latentwire.eval.method import METHODS
from latentwire.methods.lora import best_template
from latentwire.methods.trained_wire import LearnedPrefixMethod
from latentwire.wire.wire import Wire


@METHODS.add("prompt_tuning")
class PromptTuning(LearnedPrefixMethod):
    """As many soft tokens as a message has, then the text in the best zero-shot prompt."""

    about = "receiver reads learned soft tokens and the text"
    beats = ("zeroshot_receiver",)
    position = 70

    def build(self, progress: Progress) -> Wire:
        return self.prefix_wire("shared", best_template(self.context, progress))
