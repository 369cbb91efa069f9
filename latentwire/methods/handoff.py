"""Hand a text to the receiver in place of a message."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.context import Context
from latentwire.eval.method import Method, Prediction
from latentwire.methods.label_calibration import calibrate, score_on_val
from latentwire.methods.prompt_choice import PromptChoice, ValScore

TEXT = "{text}"


@dataclass(frozen=True)
class HandoffPrompt:
    """Prompt around a text that is handed to the receiver.

    Args:
        prompt: Template of the receiver's prompt, with the placeholder `{context}` for the text.
        form: Fixed words around the text, with the placeholder `{text}`.
    """

    prompt: str
    form: str = TEXT


def handoff_prompts(context: Context) -> tuple[HandoffPrompt, ...]:
    """Return the task's own prompts for a handed text."""
    return tuple(HandoffPrompt(prompt) for prompt in context.task.handoff_prompts(context.setting))


def answer_handoff(
    context: Context,
    prompt: HandoffPrompt,
    examples: Sequence[Example],
    texts: Sequence[str],
    progress: Progress,
    title: str,
    *,
    log_prior: Sequence[float] = (),
    fresh: bool = False,
) -> list[Prediction]:
    """Let the receiver answer each example from a text.

    Predictions record the text and its size in bytes, without the words around it.

    Args:
        context: Context with the receiver.
        prompt: Prompt around the text.
        examples: Examples to answer.
        texts: Text of each example.
        progress: Called with progress updates.
        title: Title of the progress bar.
        log_prior: Log prior of the labels; empty for no calibration.
        fresh: See `Method.predict`.
    """
    builder = context.prompt_builder(context.receiver.lm, prompt.prompt)
    answers = context.answer(
        context.receiver,
        examples,
        [
            builder.build_handoff(example, prompt.form.replace(TEXT, text))
            for example, text in zip(examples, texts, strict=True)
        ],
        progress,
        title,
        ranking_only=fresh,
        sent=[{"n_bytes": len(text.encode()), "text": text} for text in texts],
    )
    return calibrate(context.task, examples, answers, log_prior)


def score_handoff(
    context: Context, prompt: HandoffPrompt, texts: Sequence[str], progress: Progress, title: str
) -> ValScore:
    """Score a prompt on val, given the text of each val example."""
    val = context.prompt_val()
    answers = answer_handoff(context, prompt, val, texts, progress, title)
    return score_on_val(context.task, val, answers, prompt.prompt)


class TextHandoff(Method):
    """Base class of methods that hand a text to the receiver, with the best prompt on val.

    Args:
        context: Context of the method.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.prompts = self.candidates()
        self.choice = PromptChoice(self.prompts[0])

    def candidates(self) -> tuple[HandoffPrompt, ...]:
        """Return the prompts that are tried on val."""
        return handoff_prompts(self.context)

    @abstractmethod
    def texts(self, examples: Sequence[Example], progress: Progress, fresh: bool) -> list[str]:
        """Return the text of each example."""

    def prepare(self, progress: Progress) -> None:
        texts = self.texts(self.context.prompt_val(), progress, False)
        self.choice = PromptChoice.best(
            {
                prompt: score_handoff(self.context, prompt, texts, progress, self.name)
                for prompt in self.prompts
            }
        )

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        return answer_handoff(
            self.context,
            self.choice.prompt,
            examples,
            self.texts(examples, progress, fresh),
            progress,
            self.name,
            log_prior=self.choice.log_prior,
            fresh=fresh,
        )

    def settings(self) -> dict[str, Any]:
        return self.choice.to_json(asdict)
