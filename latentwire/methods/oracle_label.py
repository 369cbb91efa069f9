"""Control: the right label as text, the upper bound for any label."""

from __future__ import annotations

from collections.abc import Sequence

from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.method import METHODS
from latentwire.methods.handoff import HandoffPrompt, TextHandoff
from latentwire.methods.label_prompts import correct_label, label_prompts


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
