"""Where tasks meet models: an example becomes the requests that one model is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from latentwire.core.errors import UsageError
from latentwire.data import Example, Task
from latentwire.data.spec import Setting
from latentwire.data.templates import places
from latentwire.models import MESSAGE_MARK, LanguageModel, Prompt


@dataclass(frozen=True)
class Request:
    """One prompt, and what is asked for behind it.

    Args:
        prompt: With or without the mark for soft tokens.
        answers: Token ids of each answer to be scored; none if the model is to write.
        sizes: Bytes of each answer's text.
    """

    prompt: Prompt
    answers: tuple[tuple[int, ...], ...] = ()
    sizes: tuple[int, ...] = ()


class PromptBuilder:
    """Renders the examples of a task for one model, in every method alike.

    Args:
        task: Gives the words.
        lm: Gives tokens, chat template and the limit of its context.
        template: A reader template of the task.
        max_tokens: Longest context in tokens of this model; the task's own limit by default.
        setting: What stands in the prompt beside a message; the task's own by default.
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
        # What stands before the context is the same for all examples unless it names the example.
        head = template.partition("{context}")[0]
        varies = {"question", "filled"} & set(places(head)) or (
            "choices" in places(head) and not task.labels
        )
        self._static = "" if varies else task.render(head, "", "", task.labels)

    def cut(self, example: Example) -> tuple[Example, bool]:
        """The example with its context cut to the limit, and whether anything was cut.

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

    def build(self, example: Example) -> list[Request]:
        """What a model is given that reads the (cut) text itself.

        One request, whose prompt all answers follow; or, for a template with the place
        `{filled}`, one request for each choice, behind which the same words are scored.
        """
        cut = self.cut(example)[0]
        if "filled" not in places(self.template):
            return [self._request(self.lm.prompt(self._render(cut), self._static), example)]
        prompts = [self.lm.prompt(self._render(cut, filled=filled)) for filled in cut.contexts]
        size = len(cut.continuation.encode())
        return [Request(p, (self.lm.answer_ids(p, cut.continuation),), (size,)) for p in prompts]

    def build_handoff(self, example: Example, text: str = MESSAGE_MARK) -> list[Request]:
        """What a model is given that sees a hand-off in the context's place: soft tokens or a text.

        In the setting `shared` the hand-off stands before the prompt of a model that reads.
        """
        if self.setting == "shared":
            reading = self._render(self.cut(example)[0])
            return [self._request(self.lm.prompt(f"{text}\n{reading}"), example)]
        handed = self._render(replace(example, context=text))
        return [self._request(self.lm.prompt(handed, self._static), example)]

    def right_answer(self, prompt: Prompt, example: Example) -> tuple[int, ...]:
        """Ids of what the model should say: the right choice as it is scored, else the reference.

        What is written ends as the task's answers end, so that a bridge learns to end it too.
        """
        if example.target is not None:
            return self.lm.answer_ids(prompt, self.task.answers(example)[example.target])
        if "\n" in self.task.stop and not self.lm.is_chat:
            return self.lm.answer_ids(prompt, example.references[0] + "\n")
        return (*self.lm.answer_ids(prompt, example.references[0]), *self.lm.end_ids[:1])

    def _request(self, prompt: Prompt, example: Example) -> Request:
        answers = self.task.answers(example)
        ids = tuple(self.lm.answer_ids(prompt, answer) for answer in answers)
        return Request(prompt, ids, tuple(len(answer.encode()) for answer in answers))

    def _render(self, example: Example, filled: str = "") -> str:
        task = self.task
        return task.render(
            self.template, example.context, example.question, example.choices, filled
        )


SENDER_PROMPTS = ("raw", "aware")


def sender_texts(
    task: Task,
    lm: LanguageModel,
    examples: Sequence[Example],
    sender_prompt: str = "raw",
    max_tokens: int | None = None,
    setting: Setting | None = None,
) -> tuple[list[str], list[bool]]:
    """What the sender reads for each example, and whether its context was cut.

    Args:
        task: The task.
        lm: The sending model.
        examples: Their contexts are cut to `max_tokens`.
        sender_prompt: `raw`: the text alone; `aware`: the text and the task, as a chat turn for
            a chat model.
        max_tokens: In sender tokens; the task's limit by default.
        setting: The task's own by default. Unless it is `split`, the text has the question, too.
    """
    setting = task.setting(setting)
    if sender_prompt == "aware":
        builder = PromptBuilder(task, lm, task.sender_prompt_aware, max_tokens)
        cut = [builder.cut(example) for example in examples]
        return [lm.turn(builder._render(e)) for e, _ in cut], [was_cut for _, was_cut in cut]
    builder = PromptBuilder(task, lm, "{context}", max_tokens)
    if task.asks and setting != "split":
        examples = [_whole(task, example) for example in examples]
    cut = [builder.cut(example) for example in examples]
    return [e.context for e, _ in cut], [was_cut for _, was_cut in cut]


def _whole(task: Task, example: Example) -> Example:
    """The example with its question in the context, safe from being cut."""
    before, _, after = task.whole.partition("{context}")
    head, tail = (task.render(part, "", example.question, ()) for part in (before, after))
    return replace(
        example,
        context=head + example.context + tail,
        protected=example.protected + tail,
    )


def examples_of(
    task: Task,
    setting: Setting | None,
    texts: Sequence[str],
    questions: Sequence[str] | None,
) -> list[Example]:
    """A user's texts as examples of a task, without a right answer.

    Args:
        task: What is asked about them.
        setting: How; the task's own by default.
        texts: What the sender reads.
        questions: One for each text, for tasks whose items have a question of their own.
    Raises: UsageError: If the task cannot be asked so, a text is empty or a question is missing.
    """
    if not task.labels and task.kind != "generation":
        raise UsageError(
            f"The choices of task '{task.name}' differ from example to example: "
            "use wire.respond(task, examples, soft)."
        )
    if task.setting(setting) == "shared":
        raise UsageError(
            "In the setting 'shared' the receiver reads the text, too: "
            "use wire.respond(task, examples, soft)."
        )
    asked = [question for question in questions or () if question.strip()]
    if len(asked) != (len(texts) if task.asks else 0):
        wants = "one question for each text" if task.asks else "no question beside the text"
        raise UsageError(
            f"Task '{task.name}' wants {wants}; it was given {len(texts)} text(s) and "
            f"{len(asked)} question(s)."
        )
    if not all(text.strip() for text in texts):
        raise UsageError("The text is empty: there is nothing to send.")
    return [
        Example("", text, question, task.labels, None, ())
        for text, question in zip(texts, asked or [""] * len(texts))
    ]
