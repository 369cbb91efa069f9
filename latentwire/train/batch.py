"""One batch of one task as objectives see it; each quantity is computed when it is asked for."""

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
from latentwire.train.sender_answers import SenderAnswers

_MAX_REAL_EMBEDDINGS = 1024  # enough for two moments and an adversary; all would fill the memory
_REPEAT = f"{MESSAGE_MARK}\nRepeat the text above word for word:"


@dataclass(frozen=True)
class Reading:
    """How the receiver is asked while a bridge is trained on one task.

    Args:
        task: The task.
        receiver: The frozen receiver.
        builder: Renders what stands around the soft tokens.
        recompute: Whether activations of the receiver are made again in the backward pass.
        sender_answers: What the sender answers when it reads the items itself.
    """

    task: Task
    receiver: Receiver
    builder: PromptBuilder
    recompute: bool = False
    sender_answers: SenderAnswers | None = None

    def with_prompt(self, template: str) -> Reading:
        """The same with other words around the soft tokens."""
        old = self.builder
        return replace(
            self, builder=PromptBuilder(old.task, old.lm, template, old.max_tokens, old.setting)
        )


class TaskBatch:
    """What objectives may ask about a batch.

    Args:
        reading: How the receiver is asked.
        examples: Of one task.
        soft: The bridge's soft tokens for them, (b, k, dr).
        sent: What the receiver reads in their place, (b, k, dr): the same, unless an objective
            puts noise on it.
    """

    def __init__(
        self, reading: Reading, examples: Sequence[Example], soft: Tensor, sent: Tensor
    ) -> None:
        self._reading, self._examples = reading, examples
        self._receiver, self._builder = reading.receiver, reading.builder
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
        # In every setting the teacher reads all of the item.
        task, limit = self._reading.task, self._builder.max_tokens
        reader = PromptBuilder(task, self._lm, task.prompts[0], limit, self._builder.setting)
        prompts = [reader.build(example)[0].prompt for example in self._examples]
        with torch.no_grad():
            return self._receiver.answer_logits(prompts, self._answers, None)[0]

    @cached_property
    def choice_scores(self) -> Float[Tensor, "b c"]:
        choices = [request.answers for request in self._requests]
        # The pass of the right answers ends where single tokens are scored. Processes that hold the
        # receiver together must make as many passes as the others, whatever their choices are.
        if not self._lm.is_sharded and all(len(ids) == 1 for row in choices for ids in row):
            return self._receiver.first_scores(self._answered[0][:, -1], choices)
        with recomputed_blocks(self._lm, self._reading.recompute):
            return self._receiver.compare_choices(self._prompts, choices, self._sent)

    @cached_property
    def sender_choice_scores(self) -> Float[Tensor, "b c"]:
        answers = self._reading.sender_answers
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
        prompt = self._whole(self._lm.prompt(_REPEAT))
        answers = [row[:max_tokens] for row in self._texts]
        with recomputed_blocks(self._lm, self._reading.recompute):
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
        """Ids of each text as the receiver would read it, cut to the task's limit."""
        texts = [self._builder.cut(example)[0].context for example in self._examples]
        return [self._lm.token_ids(text) for text in texts]

    @cached_property
    def _requests(self) -> list[Request]:
        return [self._builder.build_handoff(example)[0] for example in self._examples]

    @cached_property
    def _prompts(self) -> list[Prompt]:
        return [self._whole(request.prompt) for request in self._requests]

    @cached_property
    def _answers(self) -> list[Sequence[int]]:
        return [
            _answer_ids(self._reading, prompt, example)
            for prompt, example in zip(self._prompts, self._examples)
        ]

    @cached_property
    def _answered(self) -> tuple[Tensor, Tensor]:
        with recomputed_blocks(self._lm, self._reading.recompute):
            return self._receiver.answer_hidden(self._prompts, self._answers, self._sent)

    def _whole(self, prompt: Prompt) -> Prompt:
        """Without a part that is taken from a cache, which a recomputed block would fill twice."""
        return replace(prompt, n_static=0) if self._reading.recompute else prompt


def _answer_ids(reading: Reading, prompt: Prompt, example: Example) -> Sequence[int]:
    """Ids of the right answer, no longer than the receiver may write."""
    ids = reading.builder.right_answer(prompt, example)
    return ids[: reading.task.max_new_tokens] if reading.task.max_new_tokens else ids
