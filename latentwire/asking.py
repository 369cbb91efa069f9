"""Where tasks meet models: an example becomes the prompt of one model, cut to its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from latentwire.data import Example, Task
from latentwire.data.spec import SplitName
from latentwire.errors import UsageError
from latentwire.models import MESSAGE_MARK, LanguageModel, Prompt


class Asker:
    """Renders the examples of a task for one model, in every method alike.

    Args:
        task: Gives the words.
        lm: Gives tokens, chat template and the limit of its context.
        template: A reader template of the task with the place `{context}`.
        max_tokens: Longest context in tokens of this model; the task's own limit by default.
    """

    def __init__(
        self, task: Task, lm: LanguageModel, template: str, max_tokens: int | None = None
    ) -> None:
        self.task, self.lm, self.template = task, lm, template
        self.max_tokens = min(max_tokens or task.max_context_tokens, lm.max_tokens * 3 // 4)
        # What stands before the context is the same for all examples unless it names the example.
        head = template.partition("{context}")[0]
        varies = "{question}" in head or ("{choices}" in head and not task.labels)
        self._static = "" if varies else task.render(head, "", "", task.labels)

    def cut(self, example: Example) -> tuple[Example, bool]:
        """The example with its context cut to the limit, and whether anything was cut.

        The protected tail (a question's choices) is never cut.
        Raises: UsageError: If the context is empty.
        """
        if not example.context.strip():
            raise UsageError(f"The text of example '{example.id}' is empty: nothing to read.")
        body, kept = example.context, example.protected
        if kept and body.endswith(kept):
            body = body[: -len(kept)]
        else:
            kept = ""
        room = max(self.max_tokens - (len(self.lm.token_ids(kept)) if kept else 0), 8)
        body, was_cut = self.lm.truncate(body, room)
        return (replace(example, context=body + kept), True) if was_cut else (example, False)

    def text(self, example: Example) -> str:
        """The rendered prompt with the (cut) context inside."""
        return self._render(self.cut(example)[0])

    def text_prompt(self, example: Example) -> Prompt:
        """The tokenised prompt with the (cut) context inside."""
        return self.lm.prompt(self.text(example), self._static)

    def prompt_with(self, example: Example, context: str) -> Prompt:
        """The tokenised prompt with another text in the context's place, uncut."""
        return self.lm.prompt(self._render(replace(example, context=context)), self._static)

    def soft_prompt(self, example: Example) -> Prompt:
        """The tokenised prompt with the mark for soft tokens in the context's place."""
        return self.prompt_with(example, MESSAGE_MARK)

    def choice_ids(self, prompt: Prompt, example: Example) -> list[tuple[int, ...]]:
        """Token ids of every choice behind the prompt."""
        return [self.lm.answer_ids(prompt, choice) for choice in self.task.answers(example)]

    def right_answer(self, example: Example) -> str:
        """What the model should say: the right choice as it is scored, else the reference."""
        if example.target is None:
            return example.references[0]
        return self.task.answers(example)[example.target]

    def _render(self, example: Example) -> str:
        return self.task.render(self.template, example.context, example.question, example.choices)


SENDER_PROMPTS = ("raw", "aware")


def sender_texts(
    task: Task,
    lm: LanguageModel,
    examples: Sequence[Example],
    sender_prompt: str = "raw",
    max_tokens: int | None = None,
) -> tuple[list[str], list[bool]]:
    """What the sender reads for each example, and whether its context was cut.

    Args:
        task: The task.
        lm: The sending model.
        examples: Their contexts are cut to `max_tokens`.
        sender_prompt: `raw`: the context alone; `aware`: the context and the task.
        max_tokens: In sender tokens; the task's limit by default.
    """
    template = "{context}" if sender_prompt == "raw" else task.sender_prompt_aware
    asker = Asker(task, lm, template, max_tokens)
    cut = [asker.cut(example) for example in examples]
    texts = [task.render(template, e.context, e.question, e.choices) for e, _ in cut]
    return texts, [was_cut for _, was_cut in cut]


def take(task: Task, split: SplitName, limit: int | None, seed: int) -> list[Example]:
    """A seeded sample of a split, or all of it in its order if there is no limit."""
    return list(task.split(split)) if limit is None else task.sample(split, limit, seed)
