"""Context of a method: task, models and the services that methods share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jaxtyping import Float
from torch import Tensor

from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress
from latentwire.data import Example, Task
from latentwire.data.spec import Setting
from latentwire.eval.method import Prediction
from latentwire.eval.method_pool import MethodPool
from latentwire.models import LanguageModel, Receiver, Sender
from latentwire.models.state_cache import StateCache
from latentwire.prompting.builder import PromptBuilder, Request, sender_texts
from latentwire.prompting.scoring import respond
from latentwire.train import TrainConfig
from latentwire.wire.wire import Wire


def no_bridge(what: str) -> UsageError:
    """Return the error that `what` needs a trained bridge."""
    return UsageError(f"{what} needs a trained bridge. Give --run.")


@dataclass(frozen=True, eq=False)
class Context:
    """Task, models and shared services of a set of methods.

    Args:
        task: Task whose examples are answered.
        sender: Sender model in its reading role.
        receiver: Receiver model.
        wire: Trained wire, for methods that send soft tokens.
        layers: Sender layers that probes read: those of the wire.
        sender_prompt: What the sender reads: `raw` or `aware`.
        setting: Task setting: `blind`, `shared` or `split`; the task's own by default.
        max_tokens: Maximum length of a text in tokens of its reader; the task's limit by default.
        seed: Random seed for samples, controls and fits.
        batch_size: Prompts per forward pass.
        prompt_val_limit: Number of val examples on which prompts are chosen.
        soft_tokens: Number of soft tokens of a message, for methods that train their own; that of
            the wire if there is one.
        budget: Training configuration of methods that train, if there is no wire; see `training`.
        options: Options of methods by name, for all methods that have them.
        other: Returns a wire of the same pair that was trained on another task.
        sender_as_reader: Sender model in the answering role.
    """

    task: Task
    sender: Sender
    receiver: Receiver
    wire: Wire | None = None
    layers: tuple[int, ...] = ()
    sender_prompt: str = "raw"
    setting: Setting = None  # type: ignore[assignment]  # resolved below
    max_tokens: int | None = None
    seed: int = 0
    batch_size: int = 32
    prompt_val_limit: int = 64
    soft_tokens: int = 8
    budget: TrainConfig | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    other: Callable[[], Wire] | None = None
    sender_as_reader: Receiver = None  # type: ignore[assignment]  # resolved below

    def __post_init__(self) -> None:
        resolved: dict[str, Any] = {"setting": self.task.setting(self.setting)}
        if self.wire is not None:
            resolved["soft_tokens"] = self.wire.spec.soft_tokens
        if self.sender_as_reader is None:
            resolved["sender_as_reader"] = Receiver(self.sender.lm)
        for name, value in resolved.items():
            object.__setattr__(self, name, value)

    @cached_property
    def methods(self) -> MethodPool:
        """Methods of this context and their answers."""
        return MethodPool(self)

    @cached_property
    def cache(self) -> StateCache:
        """Sender states at the layers of this context."""
        return StateCache(self.sender, self.layers)

    @cached_property
    def training(self) -> TrainConfig:
        """Training configuration of methods that train: that of the bridge, but in one process."""
        if self.wire is None and self.budget is not None:
            return self.budget
        known = self.wire.training if self.wire else {}
        given = {"seed": self.seed} | known | {"shard_receiver": False}
        return TrainConfig.of(**{k: v for k, v in given.items() if k != "tasks"})

    def train_examples(self) -> list[Example]:
        """Return the training examples of the bridge, which are also those of other methods."""
        return self.task.sample("train", self.training.train_limit, self.training.seed)

    def prompt_val(self) -> list[Example]:
        """Return the val examples on which prompts are chosen."""
        return self.task.sample("val", self.prompt_val_limit, self.seed)

    def need_wire(self, method: str) -> Wire:
        """Return the wire. Raises: UsageError: If there is none."""
        if self.wire is None:
            raise no_bridge(f"Method '{method}'")
        return self.wire

    def sender_texts(
        self, examples: Sequence[Example], sender_prompt: str | None = None
    ) -> list[str]:
        """Return the sender's input text for each example.

        Args:
            examples: Examples to read.
            sender_prompt: `raw` or `aware`; the context's own by default.
        """
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
        """Return a builder of prompts for a model; `max_tokens` counts tokens of that model."""
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
        """Let a model answer examples, and score its answers.

        Args:
            reader: Answering model.
            examples: Examples to answer.
            requests: Prompts of each example.
            progress: Called with progress updates.
            title: Title of the progress bar.
            soft: Soft tokens of each example, (b, k, dr); None if prompts are text only.
            ranking_only: True if only the best choice matters, not its score.
            sent: Further fields of each prediction that describe what was sent.
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
        more = sent or [{}] * len(examples)
        return [
            Prediction.of(self.task, example, response, **each)
            for example, response, each in zip(examples, responses, more, strict=True)
        ]
