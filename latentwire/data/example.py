"""One item of a task: context, question, choices and correct answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """One item of a task.

    Attributes:
        id: Stable id, unique within the task: the data set's own id, or e.g. `test-17`.
        context: Text for the sender, and for methods that read the text itself.
        question: Question for the receiver; empty if the prompts contain it. Passage tasks (boolq,
            squad) put it after the passage. For tasks with the choices in `context` (arc, piqa),
            it is the item without the choices and used only by `harness_prompt`.
        choices: Texts of the choices; () for generation.
        target: Index of the correct choice; None for generation.
        references: Correct answers as text; for choice tasks, the text of the correct choice.
        protected: End of `context` that truncation must keep, e.g. the lettered choices.
        contexts: One context per choice for tasks in which lm-evaluation-harness scores the same
            continuation after each option (winogrande), else ().
        continuation: Text to score after each of `contexts`, else "".
    """

    id: str
    context: str
    question: str
    choices: tuple[str, ...]
    target: int | None
    references: tuple[str, ...]
    protected: str = ""
    contexts: tuple[str, ...] = ()
    continuation: str = ""
