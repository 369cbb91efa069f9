"""Labels sent as text: their words, and the receiver's prompts around them."""

from __future__ import annotations

from latentwire.data import Example, Task
from latentwire.data.templates import LETTERS
from latentwire.eval.context import Context
from latentwire.eval.method import Prediction
from latentwire.methods.handoff import HandoffPrompt, handoff_prompts

_PROMPTS = (
    "Answer: {context}\nAnswer:",
    "The right answer is {context}.\nQuestion: What is the right answer?\nAnswer:",
    "Reply with these words and nothing else: {context}\nReply:",
)
_FORMS = ("The right answer is {text}.", "Hint: {text}")
_ANY_WORDS = ("the old bridge", "seven", "in the morning", "water")
_MAX_WORDS = 8


def label_prompts(context: Context) -> tuple[HandoffPrompt, ...]:
    """Return prompts for a label sent as text: the task's own, and some that introduce the label.

    One of them demonstrates repetition, so that a weak receiver copies the label. In the setting
    `shared` the label precedes a prompt with the text, and words around it introduce it.
    """
    own = handoff_prompts(context)
    if context.setting == "shared":
        return (*own, *(HandoffPrompt(each.prompt, form) for form in _FORMS for each in own))
    return (*own, *(HandoffPrompt(each) for each in (*_PROMPTS, _repetition_prompt(context.task))))


def _repetition_prompt(task: Task) -> str:
    words = LETTERS[:4] if task.kind == "letter" else task.labels[:_MAX_WORDS] or _ANY_WORDS
    shown = "".join(f"Note: {word}\nAnswer: {word}\n\n" for word in words)
    return shown + "Note: {context}\nAnswer:"


def correct_label(task: Task, example: Example) -> str:
    """Return the words of the right answer, as the receiver would write them."""
    if example.target is None:
        return example.references[0]
    return task.answers(example)[example.target]


def predicted_label(task: Task, example: Example, prediction: Prediction) -> str:
    """Return the words of a prediction, as the receiver would write them; empty if unreadable."""
    said = prediction.prediction
    if isinstance(said, int):
        return task.answers(example)[said]
    return said or ""
