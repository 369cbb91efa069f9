"""Methods with a wire of their own: built, perhaps trained with the bridge's budget, asked."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from latentwire.bridge import Bridge
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.data.spec import Setting
from latentwire.eval.context import Context
from latentwire.eval.method import Prediction
from latentwire.methods.bridge import MessageMethod
from latentwire.methods.lora import kept_or_not
from latentwire.models import Receiver
from latentwire.models.state_cache import StateCache
from latentwire.train import train_bridge
from latentwire.wire.spec import WireSpec
from latentwire.wire.wire import Wire


class OwnWire(MessageMethod):
    """Base of these methods; a subclass says which wire and what differs in its training."""

    needs_wire = False
    seeded = True
    trained = True

    def __init__(self, context: Context) -> None:
        self.context = context
        self.best: dict[str, float] = {}

    @abstractmethod
    def build(self, progress: Progress) -> Wire:
        """The wire before it is trained."""

    def changes(self) -> dict[str, Any]:
        """Settings of the training that are not the bridge's."""
        return {}

    def prepare(self, progress: Progress) -> None:
        self.wire = self.build(progress)
        config = self.context.training.model_copy(update=self.changes())
        with kept_or_not(self.context.work) as folder:
            done = train_bridge(
                self.wire, self.context.task, folder, config=config, resume=True, progress=progress
            )
        self.best = done.best

    def settings(self) -> dict[str, Any]:
        prompt = self.wire.prompt_builder(self.context.task).template
        return {"prompt": prompt, "n_parameters": self.wire.bridge.n_parameters, "val": self.best}

    def texts(self, examples: Sequence[Example]) -> list[str]:
        return self.wire.sender_texts(self.context.task, examples)[0]

    @cached_property
    def _cache(self) -> StateCache:
        return StateCache(self.wire.sender, self.wire.spec.layers)


class LearnedPrefix(Bridge):
    """Soft tokens that are learned and never change: whatever the sender has read."""

    kind = "learned_prefix"
    about = "the same soft tokens for every text"
    source = "Lester et al. 2021, Prompt Tuning, arXiv:2104.08691"

    def mix(
        self, x: Float[Tensor, "b l t ds"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k dr"]:
        return self.prefix_of(len(x))

    def prefix_of(self, n: int) -> Float[Tensor, "b k dr"]:
        """Offsets of n messages: none."""
        return self.anchors.new_zeros(n, *self.anchors.shape)


class LearnedPrefixMethod(OwnWire):
    """Base of the methods that learn soft tokens of a message's size, but send nothing.

    They start at the embeddings of the label words and are trained with the bridge's examples,
    steps and batch; the learning rate is their own.
    """

    # They send nothing: what changes messages does not change them.
    version = 2  # 2: another learning rate
    rate = 1e-1  # best of three on the val splits of two tasks: docs/LOG.md, 2026-11-28

    def changes(self) -> dict[str, Any]:
        return {
            "lr": self.context.rates.get(self.name, self.rate),
            "init": "fresh",
            "loss": "answer",
        }

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "lr": self.changes()["lr"]}

    def prefix_wire(self, setting: Setting, prompt: str | None) -> Wire:
        """A wire whose message is the same for every example."""
        context = self.context
        receiver = Receiver(context.receiver.lm)
        k = context.soft_tokens
        bridge = LearnedPrefix(
            n_layers=len(context.layers),
            sender_width=context.sender.lm.width,
            receiver_width=receiver.soft_width,
            soft_tokens=k,
        )
        spec = WireSpec(
            bridge=bridge.kind,
            soft_tokens=k,
            layers=context.layers,
            sender_prompt=context.sender_prompt,
            setting=setting,
            max_tokens=context.max_tokens,
            prompt=prompt,
        )
        return Wire.of(context.sender, receiver, bridge, spec)

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        bridge, builder = self.wire.bridge, self.wire.prompt_builder(self.context.task)
        assert isinstance(bridge, LearnedPrefix)
        soft = bridge.write(bridge.prefix_of(1)).detach()
        return self.context.answer(
            self.wire.receiver,
            examples,
            [builder.build_handoff(example) for example in examples],
            progress,
            self.name,
            soft=soft.expand(len(examples), -1, -1),
            ranking_only=fresh,
        )
