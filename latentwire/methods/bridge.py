"""The trained bridge, and the base class of methods that send soft tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Method, Prediction
from latentwire.models.state_cache import StateCache
from latentwire.wire.message import Message
from latentwire.wire.wire import Wire

_BATCH = 32


class MessageMethod(Method):
    """Base class of methods that send the soft tokens of a bridge to the receiver.

    A subclass may change the messages (`tamper`) or their sender (`writer`).

    Args:
        context: Context of the method.
    """

    needs_wire = True
    seeded = True
    version = 2  # 2: size of the message header

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.wire = context.need_wire(self.name)

    @property
    def writer(self) -> Wire:
        """Wire whose bridge writes the messages."""
        return self.wire

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        messages = self.write(examples, progress, fresh=fresh)
        builder = self.wire.prompt_builder(self.context.task)
        return self.context.answer(
            self.writer.receiver,
            examples,
            [builder.build_handoff(example) for example in examples],
            progress,
            self.name,
            soft=self.tamper(self.unpack(messages)),
            ranking_only=fresh,
            sent=[{"n_bytes": message.n_bytes} for message in messages],
        )

    def tamper(self, soft: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        """Return the soft tokens to send; controls replace them."""
        return soft

    def write(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Message]:
        """Return the message of each example, rounded by the wire's codec."""
        texts = self.texts(examples)
        if not fresh:
            self._cache.ensure(texts, progress=progress)
        messages: list[Message] = []
        for start in range(0, len(texts), _BATCH):
            part = texts[start : start + _BATCH]
            if fresh:
                soft = self.writer.soft_tokens_of(part)
            else:
                soft = self.writer.soft_tokens(self._cache.states(part))
            messages += self.writer.pack(soft)
        return messages

    def texts(self, examples: Sequence[Example]) -> list[str]:
        """Return the sender's input text for each example."""
        return self.context.sender_texts(examples, self.writer.spec.sender_prompt)

    def unpack(self, messages: Sequence[Message]) -> Float[Tensor, "b k dr"]:
        """Return the soft tokens of messages on the receiver's device, (b, k, dr)."""
        soft = torch.stack([message.soft for message in messages])
        return soft.to(self.wire.receiver.lm.device)

    @cached_property
    def _cache(self) -> StateCache:
        layers = self.writer.spec.layers
        if layers == self.context.layers:
            return self.context.cache
        return StateCache(self.context.sender, layers)


@METHODS.add("bridge")
class BridgeMethod(MessageMethod):
    """Sends the messages of the trained bridge to the receiver."""

    about = "soft tokens from the sender"
    role = "method"
    beats = ("sender_label", "linear_probe", "text_relay", "zeroshot_receiver")
    position = 0
    in_eval = True
