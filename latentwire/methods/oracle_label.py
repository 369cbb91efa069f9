"""Control: the right label as text, the ceiling of what a label can do."""

from __future__ import annotations

from collections.abc import Sequence

from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.method import METHODS
from latentwire.methods.handoff import HandedText, Way
from latentwire.methods.label_prompts import label_ways, right_label


@METHODS.add("oracle_label")
class OracleLabel(HandedText):
    """Sends the right answer in the ways that `sender_label` has."""

    about = "control: the right label as text"
    role = "control"
    position = 41
    timed = False
    version = 2  # 2: calibrated labels

    def candidates(self) -> tuple[Way, ...]:
        return label_ways(self.context)

    def texts(self, examples: Sequence[Example], progress: Progress, fresh: bool) -> list[str]:
        return [right_label(self.context.task, example) for example in examples]
