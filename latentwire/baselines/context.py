"""What methods are given to work with, and the catalogue they join."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from latentwire.asking import Asker, sender_texts
from latentwire.catalogue import Catalogue
from latentwire.data import Example, Task
from latentwire.errors import UsageError
from latentwire.eval.method import Method
from latentwire.models import LanguageModel, Prompt, Receiver, Sender
from latentwire.models.batching import by_length
from latentwire.models.states import StateCache
from latentwire.progress import Progress
from latentwire.wire import Wire

METHODS: Catalogue[Callable[[Context], Method]] = Catalogue(
    "method", "latentwire.baselines.methods"
)


@dataclass
class Context:
    """Everything a method may use. Methods share one, so states are computed once.

    Args:
        task: The task.
        sender: The sending model's reading side.
        receiver: The receiving model.
        wire: The trained wire, for methods that send soft tokens.
        layers: Sender layers that probes read: those of the wire.
        sender_prompt: What the sender reads when its states are taken: `raw` or `aware`.
        max_tokens: Longest text, in tokens of whoever reads it; the task's limit if None.
        train_limit: How many training examples methods that learn may use: as many as the bridge.
        seed: Of samples, controls and fits.
        batch_size: Prompts per forward pass.
        prompt_val_limit: Val examples on which prompts are chosen.
        relay_tokens: Longest relay text, in sender tokens.
    """

    task: Task
    sender: Sender
    receiver: Receiver
    wire: Wire | None = None
    layers: tuple[int, ...] = ()
    sender_prompt: str = "raw"
    max_tokens: int | None = None
    train_limit: int | None = None
    seed: int = 0
    batch_size: int = 32
    prompt_val_limit: int = 64
    relay_tokens: int = 64

    @cached_property
    def cache(self) -> StateCache:
        """Sender states of this context's layers."""
        return StateCache(self.sender, self.layers)

    @cached_property
    def sender_as_reader(self) -> Receiver:
        """The sending model in the answering role."""
        return Receiver(self.sender.lm)

    def need_wire(self, method: str) -> Wire:
        """The wire. Raises: UsageError: If there is none."""
        if self.wire is None:
            raise UsageError(f"Method '{method}' needs a trained bridge: give --run.")
        return self.wire

    def sender_texts(self, examples: Sequence[Example]) -> list[str]:
        """What the sender reads when its states are taken."""
        lm = self.sender.lm
        return sender_texts(self.task, lm, examples, self.sender_prompt, self.max_tokens)[0]

    def asker(self, lm: LanguageModel, template: str) -> Asker:
        """Renders a template for a model; the limit counts in tokens of that model."""
        return Asker(self.task, lm, template, self.max_tokens)

    def score_text(
        self,
        reader: Receiver,
        asker: Asker,
        examples: Sequence[Example],
        prompts: Sequence[Prompt],
        progress: Progress,
        title: str,
        *,
        ranking_only: bool = False,
    ) -> list[Tensor]:
        """Choice scores of text prompts, in their order, batched by length."""
        scores: list[Tensor | None] = [None] * len(examples)
        with progress.task(title, len(examples)) as bar:
            for index in by_length([len(p.before) for p in prompts], self.batch_size):
                part = [prompts[i] for i in index]
                choices = [asker.choice_ids(prompts[i], examples[i]) for i in index]
                found = reader.score_choices(part, choices, ranking_only=ranking_only)
                for i, row in zip(index, found):
                    scores[i] = row
                bar.advance(len(index))
        return [row for row in scores if row is not None]

    def prompt_val(self) -> list[Example]:
        """The val examples on which prompts are chosen."""
        return self.task.sample("val", self.prompt_val_limit, self.seed)
