"""The trained bridge, and the base of the controls that tamper with its messages."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.baselines.context import METHODS, Context
from latentwire.data import Example
from latentwire.eval.method import Method, Prediction
from latentwire.message import Message
from latentwire.models import SenderStates
from latentwire.progress import Progress

_BATCH = 32


@METHODS.add("bridge")
class BridgeMethod(Method):
    """Sender states through the bridge, as bytes, into the receiver."""

    name = "bridge"
    about = "soft tokens from the sender"

    def __init__(self, context: Context) -> None:
        self.context = context
        self.wire = context.need_wire(self.name)

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        texts = self.context.sender_texts(examples)
        if not fresh:
            self.context.cache.ensure(texts, progress=progress)
        messages: list[bytes] = []
        for start in range(0, len(texts), _BATCH):
            soft = self.wire.soft_tokens(self._states(texts[start : start + _BATCH], fresh))
            messages += [m.to_bytes() for m in self.wire.pack(soft)]
        soft = torch.stack([Message.from_bytes(data).soft for data in messages])
        asker = self.wire.asker(self.context.task)
        return self.context.answer(
            self.wire.receiver,
            examples,
            [asker.hand(example) for example in examples],
            progress,
            self.name,
            soft=self.tamper(soft.to(self.wire.receiver.lm.device)),
            ranking_only=fresh,
            sent=[{"n_bytes": len(data)} for data in messages],
        )

    def tamper(self, soft: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        """What a control does to all messages; the bridge itself leaves them as they are."""
        return soft

    def _states(self, texts: Sequence[str], fresh: bool) -> SenderStates:
        if fresh:
            return self.wire.sender.encode(texts, self.wire.spec.layers)
        return self.context.cache.states(texts)
