"""One item of a task: what the sender reads, what the receiver is asked, the right answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """One item of a task.

    Attributes:
        id: Stable and unique within the task, e.g. `test-17` or the data set's own id.
        context: What the sender reads, and what a text method reads.
        question: What the receiver is asked. For passage tasks (boolq, squad) the prompts
            place it after the passage. For tasks that list their choices inside `context`
            (arc, piqa) it is the bare item without the list; only `harness_prompt` uses it.
            Empty if the prompts themselves ask.
        choices: Answer texts in order; () for generation.
        target: Index of the right one in `choices`; None for generation.
        references: Right answers as text; for choice tasks the right choice's text.
        protected: Tail of `context` that truncation must never cut, e.g. the listed choices.
        contexts: One context per choice where lm-evaluation-harness scores the same
            continuation after each option (winogrande), else ().
        continuation: What is scored after each of `contexts`, else "".
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
