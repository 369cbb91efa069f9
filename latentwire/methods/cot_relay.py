"""Text relay of a sender that is prompted to think step by step."""

from __future__ import annotations

from latentwire.eval.method import METHODS
from latentwire.methods.text_relay import TextRelay

_THINK = (
    "{task}\n\nThink step by step before you answer: what does the text say, and what follows "
    "from it?\nThoughts:",
    "Another model must solve this without seeing it.\n\n{task}\n\nThink step by step about what "
    "it needs to know, then say it.\nStep by step:",
    # Kojima et al. 2022, Large Language Models are Zero-Shot Reasoners, arXiv:2205.11916.
    "{task} Let's think step by step.",
)


@METHODS.add("cot_relay")
class CotRelay(TextRelay):
    """The sender works on the task in words, and the receiver reads these words."""

    about = "sender thinks step by step, receiver reads that"
    beats = ()
    position = 51
    in_eval = False

    def candidates(self) -> tuple[str, ...]:
        aware = self.context.task.sender_prompt_aware
        return tuple(think.replace("{task}", aware) for think in _THINK)
