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
        prompt: Prompt, with or without the mark for soft tokens.
        answers: Token ids of each answer to score; empty if the model writes its answer.
        sizes: Length of each answer's text in bytes.
    """

    prompt: Prompt
    answers: tuple[tuple[int, ...], ...] = ()
    sizes: tuple[int, ...] = ()


class PromptBuilder:
    """Builds prompts for one model from the examples of a task.

    Args:
        task: Task of the examples.
        lm: Model that reads the prompts.
        template: Prompt template of the task.
        max_tokens: Maximum context length in tokens of this model; None for the task's limit.
        setting: `blind`, `split` or `shared`; None for the task's default.
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
        # Prompts share the text before the context unless it depends on the example.
        head = template.partition("{context}")[0]
        varies = {"question", "filled"} & set(placeholders(head)) or (
            "choices" in placeholders(head) and not task.labels
        )
        self._static = "" if varies else task.render(head, "", "", task.labels)

    def cut(self, example: Example) -> tuple[Example, bool]:
        """Cut the context of an example to the limit; also return whether it was cut.

        The protected tail (a question, its choices) is never cut.

        Raises: UsageError: If the context is empty.
        """
        if not example.context.strip():
            raise UsageError(f"The text of example '{example.id}' is empty.")
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
        """Fill the placeholders of the template with the fields of an example."""
        return self.task.render(
            self.template, example.context, example.question, example.choices, filled
        )

    def build(self, example: Example) -> list[Request]:
        """Build the requests for a model that reads the (cut) text itself.

        Returns: One request with all answers. For a template with the placeholder `{filled}`, one
            request per choice, each with the same continuation to score.
        """
        cut = self.cut(example)[0]
        if "filled" not in placeholders(self.template):
            return [self._request(self.render(cut), self._static, example)]
        prompts = [self.lm.prompt(self.render(cut, filled)) for filled in cut.contexts]
        size = len(cut.continuation.encode())
        return [Request(p, (self.lm.answer_ids(p, cut.continuation),), (size,)) for p in prompts]

    def build_handoff(self, example: Example, text: str = MESSAGE_MARK) -> list[Request]:
        """Build the request for a model that reads soft tokens or a text instead of the context.

        In the setting `shared` the model reads them before the prompt with the context.

        Args:
            example: Example; its context is used in the setting `shared` only.
            text: Text in place of the context; by default the mark for soft tokens.
        """
        if self.setting == "shared":
            reading = self.render(self.cut(example)[0])
            return [self._request(f"{text}\n{reading}", "", example)]
        return [self._request(self.render(replace(example, context=text)), self._static, example)]

    def right_answer(self, prompt: Prompt, example: Example) -> tuple[int, ...]:
        """Return the token ids of the right choice as scored, or of the reference answer.

        A reference answer includes its end token, so that a bridge learns where to stop.
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
    """Build the sender's input text for each example.

    Args:
        task: Task of the examples.
        lm: Sending model.
        examples: Examples; their contexts are cut to `max_tokens`.
        sender_prompt: `raw`: the text alone; `aware`: the text and the task, as a chat turn for
            a chat model.
        max_tokens: Maximum context length in sender tokens; None for the task's limit.
        setting: None for the task's default. In all settings but `split` the text includes the
            question.
    Returns: The texts, and for each of them whether its context was cut.
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
    """Add the question to the context of an example and protect it from being cut."""
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
    """Build unlabelled examples from texts and questions of a user.

    Args:
        task: Task that the examples are of.
        contexts: Text of each example; empty where a message takes its place.
        questions: Question of each example, for tasks whose items have one.
        choices: Choices of each example; the task's labels by default.
        need_questions: Whether these tasks require questions here; otherwise they are optional.
    Raises: UsageError: If the number of questions does not fit.
    """
    n, asked = len(contexts), [question for question in questions or () if question.strip()]
    own = task.has_questions
    allowed = {n} if own and need_questions else {0, n} if own else {0}
    if len(asked) not in allowed:
        takes = "one question for each text" if own else "no questions"
        raise UsageError(
            f"Task '{task.name}' takes {takes}; given: {n} text(s) and {len(asked)} question(s)."
        )
    choices = [task.labels] * n if choices is None else choices
    if len(choices) != n:
        raise UsageError(f"Give one list of choices per text; given: {len(choices)} for {n}.")
    return [
        Example("", text, question, tuple(each), None, ())
        for text, question, each in zip(contexts, asked or [""] * n, choices, strict=True)
    ]
