"""What methods are given to work with, and the catalogue they join."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from latentwire.answering import respond
from latentwire.asking import Asker, Request, sender_texts, take
from latentwire.catalogue import Catalogue
from latentwire.data import Example, Task
from latentwire.data.spec import Setting
from latentwire.errors import UsageError
from latentwire.eval.method import Method, Prediction
from latentwire.models import LanguageModel, Receiver, Sender
from latentwire.models.states import StateCache
from latentwire.progress import Progress
from latentwire.train import TrainConfig
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
        setting: What the sender reads and the receiver is asked: `blind`, `shared`, `split`.
        max_tokens: Longest text, in tokens of whoever reads it; the task's limit if None.
        train_limit: How many training examples methods that learn may use: as many as the bridge.
        seed: Of samples, controls and fits.
        batch_size: Prompts per forward pass.
        prompt_val_limit: Val examples on which prompts are chosen.
        relay_tokens: Longest relay text, in sender tokens.
        shots: Examples of each label (of any, where labels differ) that few-shot prompts show.
        work: Folder where methods keep what they trained, so that stopped work goes on; a method
            that trains and finds None keeps nothing.
        other_run: Run folder of a bridge for the same pair and another task.
    """

    task: Task
    sender: Sender
    receiver: Receiver
    wire: Wire | None = None
    layers: tuple[int, ...] = ()
    sender_prompt: str = "raw"
    setting: Setting | None = None
    max_tokens: int | None = None
    train_limit: int | None = None
    seed: int = 0
    batch_size: int = 32
    prompt_val_limit: int = 64
    relay_tokens: int = 64
    shots: int = 4
    work: Path | None = None
    other_run: Path | None = None

    def __post_init__(self) -> None:
        self.setting = self.task.setting(self.setting)

    @cached_property
    def cache(self) -> StateCache:
        """Sender states of this context's layers."""
        return StateCache(self.sender, self.layers)

    @cached_property
    def sender_as_reader(self) -> Receiver:
        """The sending model in the answering role."""
        return Receiver(self.sender.lm)

    @cached_property
    def training(self) -> TrainConfig:
        """The budget of every method that trains: the settings that the bridge was trained with."""
        known = self.wire.training if self.wire else {}
        given = {"train_limit": self.train_limit, "seed": self.seed} | known
        return TrainConfig.of(**{k: v for k, v in given.items() if k != "tasks"})

    def train_examples(self) -> list[Example]:
        """The training examples that the bridge had, for every method that learns."""
        return take(self.task, "train", self.training.train_limit, self.training.seed)

    def need_wire(self, method: str) -> Wire:
        """The wire. Raises: UsageError: If there is none."""
        if self.wire is None:
            raise UsageError(f"Method '{method}' needs a trained bridge: give --run.")
        return self.wire

    def sender_texts(self, examples: Sequence[Example]) -> list[str]:
        """What the sender reads when its states are taken."""
        texts, _ = sender_texts(
            self.task,
            self.sender.lm,
            examples,
            self.sender_prompt,
            self.max_tokens,
            self.setting,
        )
        return texts

    def asker(self, lm: LanguageModel, template: str) -> Asker:
        """Renders a template for a model; the limit counts in tokens of that model."""
        return Asker(self.task, lm, template, self.max_tokens, self.setting)

    def answer(
        self,
        reader: Receiver,
        examples: Sequence[Example],
        requests: Sequence[Sequence[Request]],
        progress: Progress,
        title: str,
        *,
        soft: Float[Tensor, "b k dr"] | None = None,
        ranking_only: bool = False,
        sent: Sequence[dict[str, Any]] | None = None,
    ) -> list[Prediction]:
        """Let a model answer and read its answers: the one way for every method.

        Args:
            reader: The answering model.
            examples: What is asked.
            requests: What the model is given for each example.
            progress: Told of each batch.
            title: Of the progress bar.
            soft: Soft tokens of each example, or None if prompts are text.
            ranking_only: Only the best choice matters.
            sent: More fields of each prediction: what was sent.
        """
        with progress.task(title, sum(map(len, requests))) as bar:
            responses = respond(
                reader,
                self.task,
                requests,
                soft,
                batch_size=self.batch_size,
                ranking_only=ranking_only,
                on_batch=bar.advance,
            )
        return [
            Prediction.of(self.task, example, response, **more)
            for example, response, more in zip(examples, responses, sent or [{}] * len(examples))
        ]

    def prompt_val(self) -> list[Example]:
        """The val examples on which prompts are chosen."""
        return self.task.sample("val", self.prompt_val_limit, self.seed)
