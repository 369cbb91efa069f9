"""Labels sent as text: the sender's answer, and the right answer as an upper bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from latentwire.core.errors import NotApplicableError
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS
from latentwire.methods.handoff import HandoffPrompt, TextHandoff
from latentwire.methods.label_prompts import correct_label, label_prompts, predicted_label
from latentwire.methods.prompt_choice import best_on_val, mean_value

_MIN_SOURCE_VAL = 256
"""Minimum number of val examples on which the source is chosen. With 64, one of three seeds on
sst2 chose a source that is 17 points below another (docs/LOG.md, 2026-11-27)."""


@METHODS.add("sender_label")
class SenderLabel(TextHandoff):
    """Sends the sender's answer from the best source on val, with the receiver's best prompt.

    Sources are the sender's zero-shot and few-shot answers and, if labels are fixed, a probe on
    its states. Ties go to the probe, which was trained on the task.
    """

    about = "sender's answer as text"
    position = 40
    seeded = True  # few-shot examples and the probe depend on the seed
    version = 4  # 4: calibrated labels

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        probe = ("linear_probe",) if context.methods.applies("linear_probe") else ()
        self.sources = (*probe, "zeroshot_sender", "fewshot_sender")
        self.source = self.sources[0]
        self.sources_on_val: dict[str, float] = {}
        self.left_out: dict[str, str] = {}

    def candidates(self) -> tuple[HandoffPrompt, ...]:
        return label_prompts(self.context)

    def source_val(self) -> list[Example]:
        """Return the val examples on which the source is chosen: more than prompts need."""
        n = max(_MIN_SOURCE_VAL, self.context.prompt_val_limit)
        return self.context.task.sample("val", n, self.context.seed)

    def prepare(self, progress: Progress) -> None:
        val = self.source_val()
        self.sources_on_val, self.left_out = {}, {}
        for source in self.sources:
            try:
                answers = self.context.methods.predictions(source, val, progress)
            except NotApplicableError as error:  # few-shot prompts may be too long for the sender
                self.left_out[source] = str(error)
            else:
                self.sources_on_val[source] = mean_value(answers)
        self.source = best_on_val(self.sources_on_val)
        super().prepare(progress)

    def texts(self, examples: Sequence[Example], progress: Progress, fresh: bool) -> list[str]:
        answers = self.context.methods.predictions(self.source, examples, progress, fresh=fresh)
        return [
            predicted_label(self.context.task, example, answer)
            for example, answer in zip(examples, answers, strict=True)
        ]

    def settings(self) -> dict[str, Any]:
        left_out = {"left_out": self.left_out} if self.left_out else {}
        return {
            "source": self.source,
            "val_score_by_source": self.sources_on_val,
            **left_out,
            **super().settings(),
        }


@METHODS.add("oracle_label")
class OracleLabel(TextHandoff):
    """Sends the right answer, with the prompts of `sender_label`."""

    about = "control: the right label as text"
    role = "control"
    position = 41
    timed = False
    version = 2  # 2: calibrated labels

    def candidates(self) -> tuple[HandoffPrompt, ...]:
        return label_prompts(self.context)

    def texts(self, examples: Sequence[Example], progress: Progress, fresh: bool) -> list[str]:
        return [correct_label(self.context.task, example) for example in examples]
