"""A label sent as text: in which ways a receiver may be told it, and which words it is."""

from __future__ import annotations

from latentwire.data import Example, Task
from latentwire.data.templates import LETTERS
from latentwire.eval.context import Context
from latentwire.eval.method import Prediction
from latentwire.methods.handoff import Way, handed_ways

_TOLD = (
    "Answer: {context}\nAnswer:",
    "The right answer is {context}.\nQuestion: What is the right answer?\nAnswer:",
    "Reply with these words and nothing else: {context}\nReply:",
)
_FORMS = ("The right answer is {text}.", "Hint: {text}")
_ANY_WORDS = ("the old bridge", "seven", "in the morning", "water")
_MOST_WORDS = 8


def label_ways(context: Context) -> tuple[Way, ...]:
    """The task's own prompts for something handed over, and some that say what it is.

    A weak receiver must not lose the label on the way, so one of them shows how words are repeated.
    In the setting `shared` the label stands before a prompt that holds the text: there it is the
    form that says what it is.
    """
    own = handed_ways(context)
    if context.setting == "shared":
        return (*own, *(Way(way.prompt, form) for form in _FORMS for way in own))
    return (*own, *(Way(prompt) for prompt in (*_TOLD, _repeating(context.task))))


def _repeating(task: Task) -> str:
    words = LETTERS[:4] if task.kind == "letter" else task.labels[:_MOST_WORDS] or _ANY_WORDS
    shown = "".join(f"Note: {word}\nAnswer: {word}\n\n" for word in words)
    return shown + "Note: {context}\nAnswer:"


def right_label(task: Task, example: Example) -> str:
    """The words of the right answer, as the receiver would say them."""
    if example.target is None:
        return example.references[0]
    return task.answers(example)[example.target]


def said_label(task: Task, example: Example, prediction: Prediction) -> str:
    """The words of a prediction, as the receiver would say them; empty if it could not be read."""
    said = prediction.prediction
    if isinstance(said, int):
        return task.answers(example)[said]
    return said or ""
