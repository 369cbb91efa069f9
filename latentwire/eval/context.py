"""What methods are given to work with, and the catalogue they join."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from jaxtyping import Float
from torch import Tensor

from latentwire.core.errors import NotApplicableError, UsageError
from latentwire.core.progress import Progress
from latentwire.data import Example, Task
from latentwire.data.spec import Setting
from latentwire.eval.method import METHODS, Method, Prediction
from latentwire.models import LanguageModel, Receiver, Sender
from latentwire.models.state_cache import StateCache
from latentwire.prompting.builder import PromptBuilder, Request, sender_texts
from latentwire.prompting.scoring import respond
from latentwire.train import TrainConfig
from latentwire.wire.wire import Wire

V = TypeVar("V")


def no_bridge(what: str) -> UsageError:
    """The error of something that cannot do without a trained bridge."""
    return UsageError(f"{what} needs a trained bridge: give --run.")


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
        shots: Most examples of each label (of any, where labels differ) that few-shot prompts show.
        work: Folder where methods keep what they trained, so that stopped work goes on; a method
            that trains and finds None keeps nothing.
        other: A wire of the same pair that has learned another task.
        compressed_bytes: Most bytes of a compressed text.
        soft_tokens: Length of a message, for methods that learn one of their own.
        budget: Settings of every method that trains, where there is no wire to take them from.
        lora_rank: Rank of the adapters of a fine-tuned receiver.
        rates: Learning rates of methods by name, where they are not to be the method's own.
        answered: Answers that need not be made again, by method and example: see `remember`.
        chosen: Choices that need not be made again, by method: what its `settings` said.
        relayed: Relay texts that need not be written again, by template and length, then example.
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
    other: Wire | None = None
    compressed_bytes: int = 128
    soft_tokens: int = 8
    budget: TrainConfig | None = None
    lora_rank: int = 8
    rates: dict[str, float] = field(default_factory=dict)
    # Whole examples are the keys: ids may repeat from split to split.
    answered: dict[str, dict[Example, Prediction]] = field(default_factory=dict, repr=False)
    chosen: dict[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    relayed: dict[tuple[str, int], dict[Example, str]] = field(default_factory=dict, repr=False)
    _methods: dict[str, Method] = field(default_factory=dict, init=False, repr=False)
    _prepared: set[str] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        self.setting = self.task.setting(self.setting)
        if self.wire is not None:
            self.soft_tokens = self.wire.spec.soft_tokens

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
        if self.wire is None and self.budget is not None:
            return self.budget
        known = self.wire.training if self.wire else {}
        given = {"train_limit": self.train_limit, "seed": self.seed} | known
        # One process answers: nothing is spread over several, whatever the bridge's training was.
        given |= {"shard_receiver": False}
        return TrainConfig.of(**{k: v for k, v in given.items() if k != "tasks"})

    def train_examples(self) -> list[Example]:
        """The training examples that the bridge had, for every method that learns."""
        return self.task.sample("train", self.training.train_limit, self.training.seed)

    def built(self, name: str) -> Method:
        """A method as it was made, shared by all who ask.

        Raises: UnknownNameError; NotApplicableError: If the method has no meaning here.
        """
        if name not in self._methods:
            # Every method of the catalogue is made from the context alone.
            self._methods[name] = METHODS.get(name)(self)
        return self._methods[name]

    def applies(self, name: str) -> bool:
        """Whether a method has a meaning here, as far as it knows before it prepares."""
        try:
            self.built(name)
        except NotApplicableError:
            return False
        return True

    def prepared(self, name: str, progress: Progress) -> Method:
        """The same when it has made its choices, once.

        Raises: UnknownNameError; NotApplicableError: If the method has no meaning here.
        """
        method = self.built(name)
        if name not in self._prepared:
            if not self._restored(method):
                method.prepare(progress)
            self._prepared.add(name)
        return method

    def _restored(self, method: Method) -> bool:
        known = self.chosen.get(method.name)
        try:
            return known is not None and method.restore(known)
        except (KeyError, TypeError, ValueError):
            return False  # a record of another form: the choices are made again

    def predictions(
        self, name: str, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        """Another method's answers, in the order of the examples; a model answers each once.

        Args:
            name: A method whose answer to one example does not depend on the others.
            examples: What is asked.
            progress: Told of each batch.
            fresh: Answer again and remember nothing; see `Method.predict`.
        """
        if fresh:
            return self.prepared(name, progress).predict(examples, progress, fresh=True)
        return remembered(
            self.answered.setdefault(name, {}),
            examples,
            lambda new: self.prepared(name, progress).predict(new, progress),
        )

    def remember(
        self,
        name: str,
        examples: Sequence[Example],
        predictions: Sequence[Prediction],
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Take in what a method has answered elsewhere, so that methods that build on it find it.

        Args:
            name: The method.
            examples: What it was asked.
            predictions: Its answers, in their order.
            settings: What it had chosen for them, so that it answers more in the same way.
        Raises: UsageError: If they are not answers to these examples.
        """
        if [e.id for e in examples] != [p.id for p in predictions]:
            raise UsageError(f"These answers of '{name}' are not to these examples, in this order.")
        self.answered.setdefault(name, {}).update(zip(examples, predictions))
        if settings is not None:
            self.chosen[name] = settings

    def need_wire(self, method: str) -> Wire:
        """The wire. Raises: UsageError: If there is none."""
        if self.wire is None:
            raise no_bridge(f"Method '{method}'")
        return self.wire

    def sender_texts(
        self, examples: Sequence[Example], sender_prompt: str | None = None
    ) -> list[str]:
        """What the sender reads when its states are taken; another form of it if one is given."""
        texts, _ = sender_texts(
            self.task,
            self.sender.lm,
            examples,
            sender_prompt or self.sender_prompt,
            self.max_tokens,
            self.setting,
        )
        return texts

    def prompt_builder(self, lm: LanguageModel, template: str) -> PromptBuilder:
        """Renders a template for a model; the limit counts in tokens of that model."""
        return PromptBuilder(self.task, lm, template, self.max_tokens, self.setting)

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


def remembered(
    known: dict[Example, V], examples: Sequence[Example], make: Callable[[list[Example]], list[V]]
) -> list[V]:
    """What is known of each example; what is missing is made in one call, and remembered."""
    missing = [example for example in dict.fromkeys(examples) if example not in known]
    if missing:
        known.update(zip(missing, make(missing)))
    return [known[example] for example in examples]
