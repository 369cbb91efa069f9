"""The sender's own best answer, sent as text: what a latent message has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from latentwire.core.errors import NotApplicableError
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS
from latentwire.methods.handoff import HandedText, Way
from latentwire.methods.label_prompts import label_ways, said_label
from latentwire.methods.prompt_choice import best_prompt, mean_value

_SOURCE_VAL = 256
"""Val examples, at least, on which the source is chosen: with 64, one seed of three on sst2 took
a source that is 17 points below another (docs/LOG.md, 2026-11-27)."""


@METHODS.add("sender_label")
class SenderLabel(HandedText):
    """The answer of the sender's best way to answer on val, in the receiver's best way to read it.

    The sender answers zero-shot, few-shot or, where labels are fixed, by a probe on its states;
    of sources that are equal on val the probe is taken, since it has learned the task.
    """

    about = "the sender's answer as text"
    position = 40
    seeded = True  # as few-shot and probe are
    version = 4  # 4: calibrated labels

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        probe = ("linear_probe",) if context.applies("linear_probe") else ()
        self.sources = (*probe, "zeroshot_sender", "fewshot_sender")
        self.source = self.sources[0]
        self.sources_on_val: dict[str, float] = {}
        self.left_out: dict[str, str] = {}

    def candidates(self) -> tuple[Way, ...]:
        return label_ways(self.context)

    def source_val(self) -> list[Example]:
        """The val examples on which the source is chosen: more than prompts need."""
        n = max(_SOURCE_VAL, self.context.prompt_val_limit)
        return self.context.task.sample("val", n, self.context.seed)

    def prepare(self, progress: Progress) -> None:
        val = self.source_val()
        self.sources_on_val, self.left_out = {}, {}
        for source in self.sources:
            try:
                answers = self.context.predictions(source, val, progress)
            except NotApplicableError as error:  # few-shot prompts may be too long for the sender
                self.left_out[source] = str(error)
            else:
                self.sources_on_val[source] = mean_value(answers)
        self.source = best_prompt(self.sources_on_val)
        super().prepare(progress)

    def texts(self, examples: Sequence[Example], progress: Progress, fresh: bool) -> list[str]:
        answers = self.context.predictions(self.source, examples, progress, fresh=fresh)
        return [said_label(self.context.task, e, a) for e, a in zip(examples, answers)]

    def settings(self) -> dict[str, Any]:
        left_out = {"left_out": self.left_out} if self.left_out else {}
        return {
            "source": self.source,
            "val_score_by_source": self.sources_on_val,
            **left_out,
            **super().settings(),
        }
