"""Build prompts from task examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from latentwire.core.errors import UsageError
from latentwire.data import Example, Task
from latentwire.data.spec import Setting
from latentwire.data.templates import placeholders
from latentwire.models import MESSAGE_MARK, LanguageModel, Prompt

SENDER_PROMPTS = ("raw", "aware")


@dataclass(frozen=True)
class Request:
    """One prompt and the answers to score after it.

    Args:
        prompt: With or without the mark for soft tokens.
        answers: Token ids of each answer to score; empty if the model writes its answer.
        sizes: Length of each answer's text in bytes.
    """

    prompt: Prompt
    answers: tuple[tuple[int, ...], ...] = ()
    sizes: tuple[int, ...] = ()


class PromptBuilder:
    """Turns examples of a task into prompts for one model, the same way in every method.

    Args:
        task: Task of the examples.
        lm: Model that reads the prompts: gives tokenizer, chat template and context limit.
        template: Prompt template of the task.
        max_tokens: Longest context in tokens of this model; the task's limit by default.
        setting: What stands in the prompt next to a message; the task's default by default.
    """

    def __init__(
        self,
        task: Task,
        lm: LanguageModel,
        template: str,
        max_tokens: int | None = None,
        setting: Setting | None = None,
    ) -> None:
        self.task, self.lm, self.template = task, lm, template
        self.setting = task.setting(setting)
        self.max_tokens = min(max_tokens or task.max_context_tokens, lm.max_tokens * 3 // 4)
        # Text before the context is the same for all examples unless it depends on the example.
        head = template.partition("{context}")[0]
        varies = {"question", "filled"} & set(placeholders(head)) or (
            "choices" in placeholders(head) and not task.labels
        )
        self._static = "" if varies else task.render(head, "", "", task.labels)

    def cut(self, example: Example) -> tuple[Example, bool]:
        """Cut the context of an example to the limit; also return whether anything was cut.

        The protected tail (a question, its choices) is never cut.

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
        if not was_cut:
            return example, False
        joint = "\n" if kept and not kept[0].isspace() else ""
        return replace(example, context=body + joint + kept), True

    def render(self, example: Example, filled: str = "") -> str:
        """Fill the places of the template with the fields of an example."""
        return self.task.render(
            self.template, example.context, example.question, example.choices, filled
        )

    def build(self, example: Example) -> list[Request]:
        """Build the requests for a model that reads the (cut) text itself.

        Returns: One request that all answers follow. For a template with the place `{filled}` one
            request for each choice; the same words are scored after each of them.
        """
        cut = self.cut(example)[0]
        if "filled" not in placeholders(self.template):
            return [self._request(self.render(cut), self._static, example)]
        prompts = [self.lm.prompt(self.render(cut, filled)) for filled in cut.contexts]
        size = len(cut.continuation.encode())
        return [Request(p, (self.lm.answer_ids(p, cut.continuation),), (size,)) for p in prompts]

    def build_handoff(self, example: Example, text: str = MESSAGE_MARK) -> list[Request]:
        """Build the request for a model that gets soft tokens or a text instead of the context.

        In the setting `shared` the message stands before the prompt of a model that reads the text.

        Args:
            example: Its context is read in the setting `shared` only.
            text: Text in place of the context; by default the mark for soft tokens.
        """
        if self.setting == "shared":
            reading = self.render(self.cut(example)[0])
            return [self._request(f"{text}\n{reading}", "", example)]
        return [self._request(self.render(replace(example, context=text)), self._static, example)]

    def right_answer(self, prompt: Prompt, example: Example) -> tuple[int, ...]:
        """Return the token ids of the right choice in its scored form, else of the reference.

        A written answer ends the way the task's answers end, so that a bridge learns to end it too.
        """
        if example.target is not None:
            return self.lm.answer_ids(prompt, self.task.answers(example)[example.target])
        if "\n" in self.task.stop and not self.lm.is_chat:
            return self.lm.answer_ids(prompt, example.references[0] + "\n")
        return (*self.lm.answer_ids(prompt, example.references[0]), *self.lm.end_ids[:1])

    def _request(self, text: str, static: str, example: Example) -> Request:
        prompt, answers = self.lm.prompt(text, static), self.task.answers(example)
        ids = tuple(self.lm.answer_ids(prompt, answer) for answer in answers)
        return Request(prompt, ids, tuple(len(answer.encode()) for answer in answers))


def sender_texts(
    task: Task,
    lm: LanguageModel,
    examples: Sequence[Example],
    sender_prompt: str = "raw",
    max_tokens: int | None = None,
    setting: Setting | None = None,
) -> tuple[list[str], list[bool]]:
    """Build the text that the sender reads for each example.

    Args:
        task: Task of the examples.
        lm: Sending model.
        examples: Examples; their contexts are cut to `max_tokens`.
        sender_prompt: `raw`: the text alone; `aware`: the text and the task, as a chat turn for
            a chat model.
        max_tokens: Longest context in sender tokens; the task's limit by default.
        setting: The task's default by default. Unless it is `split`, the text includes the
            question.
    Returns: The texts, and for each whether its context was cut.
    """
    if sender_prompt == "aware":
        builder = PromptBuilder(task, lm, task.sender_prompt_aware, max_tokens)
        cut = [builder.cut(example) for example in examples]
        return [lm.render_turn(builder.render(e)) for e, _ in cut], [was_cut for _, was_cut in cut]
    builder = PromptBuilder(task, lm, "{context}", max_tokens)
    if task.has_questions and task.setting(setting) != "split":
        examples = [_with_question(task, example) for example in examples]
    cut = [builder.cut(example) for example in examples]
    return [e.context for e, _ in cut], [was_cut for _, was_cut in cut]


def _with_question(task: Task, example: Example) -> Example:
    """The example with its question in the context, protected from being cut."""
    before, _, after = task.whole.partition("{context}")
    head, tail = (task.render(part, "", example.question, ()) for part in (before, after))
    return replace(
        example,
        context=head + example.context + tail,
        protected=example.protected + tail,
    )


def examples_of(
    task: Task,
    contexts: Sequence[str],
    questions: Sequence[str] | None,
    choices: Sequence[Sequence[str]] | None = None,
    *,
    need_questions: bool = True,
) -> list[Example]:
    """Build examples without a right answer from a user's texts or questions.

    Args:
        task: Task that the examples are of.
        contexts: Text of each example; empty where a message takes its place.
        questions: Question of each example, for tasks whose items have their own.
        choices: Choices of each example; the task's labels by default.
        need_questions: Whether such a task's questions are read here. Where they are not, they
            may be left out.
    Raises: UsageError: If the number of questions does not fit.
    """
    n, asked = len(contexts), [question for question in questions or () if question.strip()]
    own = task.has_questions
    allowed = {n} if own and need_questions else {0, n} if own else {0}
    if len(asked) not in allowed:
        needs = "one question for each text" if own else "no question besides the text"
        raise UsageError(
            f"Task '{task.name}' needs {needs}; given: {n} text(s) and {len(asked)} question(s)."
        )
    choices = [task.labels] * n if choices is None else choices
    if len(choices) != n:
        raise UsageError(f"Give one list of choices for each text: {len(choices)} for {n} text(s).")
    return [
        Example("", text, question, tuple(each), None, ())
        for text, question, each in zip(contexts, asked or [""] * n, choices, strict=True)
    ]
