"""Base of methods that build and train a wire of their own."""

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
from latentwire.eval.method import Method, Prediction
from latentwire.methods.bridge import MessageMethod
from latentwire.methods.lora import folder_or_temporary
from latentwire.models import Receiver
from latentwire.models.state_cache import StateCache
from latentwire.train import train_bridge
from latentwire.wire.spec import WireSpec
from latentwire.wire.wire import Wire


class TrainedWireMethod(MessageMethod):
    """Base class of methods that train a wire with the budget of the bridge.

    Args:
        context: Context of the method.
    """

    needs_wire = False
    seeded = True
    trained = True

    def __init__(self, context: Context) -> None:
        Method.__init__(self, context)
        self.best: dict[str, float] = {}

    @abstractmethod
    def build(self, progress: Progress) -> Wire:
        """Return the wire before training."""

    def changes(self) -> dict[str, Any]:
        """Return training options that differ from those of the bridge."""
        return {}

    def prepare(self, progress: Progress) -> None:
        self.wire = self.build(progress)
        config = self.context.training.model_copy(update=self.changes())
        with folder_or_temporary(self.work) as folder:
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
    """Learned soft tokens that do not depend on the sender's states."""

    kind = "learned_prefix"
    about = "the same soft tokens for every text"
    source = "Lester et al. 2021, Prompt Tuning, arXiv:2104.08691"

    def mix(
        self, x: Float[Tensor, "b l t ds"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k dr"]:
        return self.prefix_of(len(x))

    def prefix_of(self, n: int) -> Float[Tensor, "b k dr"]:
        """Return the offsets of n messages, which are zero."""
        return self.anchors.new_zeros(n, *self.anchors.shape)


class LearnedPrefixMethod(TrainedWireMethod):
    """Base class of methods that learn soft tokens of the size of a message but send nothing.

    The soft tokens start at the embeddings of the label words. Examples, steps and batch size are
    those of the bridge.

    Args:
        context: Context of the method.
        lr: Peak learning rate; the default is the best of three on the val splits of two tasks
            (docs/LOG.md, 2026-11-28).
    """

    # Nothing is sent, so the version does not follow that of messages.
    version = 2  # 2: another learning rate

    def __init__(self, context: Context, *, lr: float = 1e-1) -> None:
        super().__init__(context)
        self.lr = lr

    def changes(self) -> dict[str, Any]:
        return {"lr": self.lr, "init": "fresh", "loss": "answer"}

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "lr": self.lr}

    def prefix_wire(self, setting: Setting, prompt: str | None) -> Wire:
        """Return a wire whose message is the same for every example."""
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
