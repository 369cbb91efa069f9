"""One batch of one task: quantities for the objectives, computed on first use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from latentwire.data import Example, Task
from latentwire.losses import NO_TARGET
from latentwire.models import MESSAGE_MARK, LanguageModel, Prompt, Receiver
from latentwire.models.recomputation import recomputed_blocks
from latentwire.prompting.builder import PromptBuilder, Request
from latentwire.train.sender_scores import SenderScores

_MAX_REAL_EMBEDDINGS = 1024  # a sample saves memory and is enough for moments and a discriminator
_REPEAT = f"{MESSAGE_MARK}\nRepeat the text above word for word:"


@dataclass(frozen=True)
class PromptedTask:
    """A task and how the receiver is prompted with it during training.

    Args:
        task: The task.
        receiver: The frozen receiver.
        builder: Builds the prompt around the soft tokens.
        recompute: Whether the receiver's activations are recomputed in the backward pass.
        sender_scores: Scores of the choices by the sender, which reads the text.
    """

    task: Task
    receiver: Receiver
    builder: PromptBuilder
    recompute: bool = False
    sender_scores: SenderScores | None = None

    def with_prompt(self, template: str) -> PromptedTask:
        """Return a copy with another prompt template."""
        old = self.builder
        return replace(
            self, builder=PromptBuilder(old.task, old.lm, template, old.max_tokens, old.setting)
        )


class TaskBatch:
    """Implementation of `objectives.Batch` for examples of one task.

    Args:
        prompted: The task and its prompt.
        examples: Examples of the task.
        soft: Soft tokens of the examples from the bridge, (b, k, dr).
        sent: Soft tokens that the receiver reads, (b, k, dr): equal to `soft` unless an objective
            adds noise.
    """

    def __init__(
        self, prompted: PromptedTask, examples: Sequence[Example], soft: Tensor, sent: Tensor
    ) -> None:
        self._prompted, self._examples = prompted, examples
        self._receiver, self._builder = prompted.receiver, prompted.builder
        self.soft, self._sent = soft, sent

    @property
    def targets(self) -> Int[Tensor, "b a"]:
        return self._answered[1]

    @cached_property
    def answer_nll(self) -> Float[Tensor, "b a"]:
        hidden, targets = self._answered
        return self._receiver.answer_nll(hidden, targets)

    @cached_property
    def logits(self) -> Float[Tensor, "b a v"]:
        return self._receiver.head(self._answered[0])

    @cached_property
    def teacher_logits(self) -> Float[Tensor, "b a v"]:
        # The teacher reads the whole text in every task setting.
        task, limit = self._prompted.task, self._builder.max_tokens
        reader = PromptBuilder(task, self._lm, task.prompts[0], limit, self._builder.setting)
        prompts = [reader.build(example)[0].prompt for example in self._examples]
        with torch.no_grad():
            return self._receiver.answer_logits(prompts, self._answers, None)[0]

    @cached_property
    def choice_scores(self) -> Float[Tensor, "b c"]:
        choices = [request.answers for request in self._requests]
        # Choices of one token are scored by the forward pass that the right answers need anyway.
        # Processes that share a sharded receiver must all run the same number of forward passes,
        # so they always compare the choices.
        if not self._lm.is_sharded and all(len(ids) == 1 for row in choices for ids in row):
            return self._receiver.first_scores(self._answered[0][:, -1], choices)
        with recomputed_blocks(self._lm, self._prompted.recompute):
            return self._receiver.compare_choices(self._prompts, choices, self._sent)

    @cached_property
    def sender_choice_scores(self) -> Float[Tensor, "b c"]:
        answers = self._prompted.sender_scores
        assert answers is not None
        rows = answers.scores(self._examples)
        return pad_sequence(rows, batch_first=True, padding_value=-torch.inf).to(self.soft.device)

    @cached_property
    def text_embeddings(self) -> Float[Tensor, "b dr"]:
        rows = [self._lm.embed(torch.tensor(ids)).detach().float().mean(0) for ids in self._texts]
        return torch.stack(rows)

    @cached_property
    def real_embeddings(self) -> Float[Tensor, "n dr"]:
        ids = torch.tensor([token for row in self._texts for token in row])
        every = -(-len(ids) // _MAX_REAL_EMBEDDINGS)
        return self._lm.embed(ids[::every]).detach().float()

    def text_nll(self, max_tokens: int) -> Float[Tensor, " b"]:
        prompt = self._uncached(self._lm.prompt(_REPEAT))
        answers = [row[:max_tokens] for row in self._texts]
        with recomputed_blocks(self._lm, self._prompted.recompute):
            hidden, targets = self._receiver.answer_hidden(
                [prompt] * len(answers), answers, self._sent
            )
        losses = self._receiver.answer_nll(hidden, targets)
        return losses.sum(1) / (targets != NO_TARGET).sum(1)

    @property
    def _lm(self) -> LanguageModel:
        return self._receiver.lm

    @cached_property
    def _texts(self) -> list[list[int]]:
        """Receiver token ids of each text, truncated to the maximum length of the task."""
        texts = [self._builder.cut(example)[0].context for example in self._examples]
        return [self._lm.token_ids(text) for text in texts]

    @cached_property
    def _requests(self) -> list[Request]:
        return [self._builder.build_handoff(example)[0] for example in self._examples]

    @cached_property
    def _prompts(self) -> list[Prompt]:
        return [self._uncached(request.prompt) for request in self._requests]

    @cached_property
    def _answers(self) -> list[Sequence[int]]:
        return [
            _answer_ids(self._prompted, prompt, example)
            for prompt, example in zip(self._prompts, self._examples)
        ]

    @cached_property
    def _answered(self) -> tuple[Tensor, Tensor]:
        with recomputed_blocks(self._lm, self._prompted.recompute):
            return self._receiver.answer_hidden(self._prompts, self._answers, self._sent)

    def _uncached(self, prompt: Prompt) -> Prompt:
        """Disable the cached prompt start: recomputed blocks would append to its cache twice."""
        return replace(prompt, n_static=0) if self._prompted.recompute else prompt


def _answer_ids(prompted: PromptedTask, prompt: Prompt, example: Example) -> Sequence[int]:
    """Token ids of the right answer, truncated to `max_new_tokens`."""
    ids = prompted.builder.right_answer(prompt, example)
    return ids[: prompted.task.max_new_tokens] if prompted.task.max_new_tokens else ids
