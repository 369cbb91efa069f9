"""Text relay limited to the size of a message of the bridge."""

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
    """Uses the texts and choices of `text_relay`, with each text cut to the size of a message.

    Texts that are short enough keep the answers of the relay.
    """

    about = "the relay's text, cut to the bytes of a message"
    position = 52
    needs_wire = True
    writes = True
    version = 3  # 2: the budget is the bytes of the bridge's messages; 3: calibrated labels

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        wire = context.need_wire(self.name)
        one = torch.zeros(1, wire.spec.soft_tokens, wire.receiver.soft_width)
        self.budget = wire.pack(one)[0].n_bytes
        self.was_cut: dict[str, bool] = {}

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        if fresh:
            relay = self._relay(progress)
            written = relay.write(examples, progress, fresh=True)
            texts = [cut_bytes(text, self.budget) for text in written]
            return relay.read(examples, texts, progress, fresh=True)
        found = self.context.methods.predictions("text_relay", examples, progress)
        texts = [cut_bytes(p.text or "", self.budget) for p in found]
        self.was_cut |= {p.id: text != p.text for p, text in zip(found, texts, strict=True)}
        cut = [i for i, p in enumerate(found) if self.was_cut[p.id]]
        if cut:
            again = self._relay(progress).read(
                [examples[i] for i in cut], [texts[i] for i in cut], progress
            )
            for i, prediction in zip(cut, again, strict=True):
                found[i] = prediction
        return found

    def settings(self) -> dict[str, Any]:
        n_cut = sum(self.was_cut.values())
        return {"budget_bytes": self.budget, "texts": len(self.was_cut), "texts_cut": n_cut}

    def _relay(self, progress: Progress) -> TextRelay:
        return cast(TextRelay, self.context.methods.prepared("text_relay", progress))


def cut_bytes(text: str, budget: int) -> str:
    """Return the longest prefix of a text with at most `budget` bytes in UTF-8."""
    return text.encode()[:budget].decode(errors="ignore")
