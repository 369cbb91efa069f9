"""The relay's text at the bridge's price: cut to as many bytes as a message has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch

from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Method, Prediction
from latentwire.methods.text_relay import TextRelay


@METHODS.add("same_bytes_text")
class SameBytesText(Method):
    """Shares texts and choices with `text_relay`.

    Where no text is longer than a message, its answers are the relay's: then the relay is the
    cheaper of the two already.
    """

    about = "the relay in as many bytes as a message"
    position = 52
    needs_wire = True
    writes = True
    version = 3  # 2: as the bridge's, its bytes are the budget; 3: as text_relay's

    def __init__(self, context: Context) -> None:
        self.context = context
        wire = context.need_wire(self.name)
        one = torch.zeros(1, wire.spec.soft_tokens, wire.receiver.soft_width)
        self.budget = wire.pack(one)[0].n_bytes
        self.cut: dict[str, bool] = {}

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        if fresh:
            relay = self._relay(progress)
            written = relay.write(examples, progress, fresh=True)
            texts = [cut_bytes(text, self.budget) for text in written]
            return relay.read(examples, texts, progress, fresh=True)
        found = self.context.predictions("text_relay", examples, progress)
        texts = [cut_bytes(p.text or "", self.budget) for p in found]
        self.cut |= {p.id: text != p.text for p, text in zip(found, texts)}
        cut = [i for i, p in enumerate(found) if self.cut[p.id]]
        if cut:
            again = self._relay(progress).read(
                [examples[i] for i in cut], [texts[i] for i in cut], progress
            )
            for i, prediction in zip(cut, again):
                found[i] = prediction
        return found

    def settings(self) -> dict[str, Any]:
        cut = sum(self.cut.values())
        return {"budget_bytes": self.budget, "texts": len(self.cut), "texts_cut": cut}

    def _relay(self, progress: Progress) -> TextRelay:
        return cast(TextRelay, self.context.prepared("text_relay", progress))


def cut_bytes(text: str, budget: int) -> str:
    """The longest start of `text` that has at most `budget` bytes in UTF-8."""
    return text.encode()[:budget].decode(errors="ignore")
