"""The hand-off that a bridge replaces: the sender writes, the receiver reads what was written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from latentwire.baselines.context import METHODS, Context
from latentwire.baselines.prompts import best_prompt, mean_value
from latentwire.data import Example
from latentwire.eval.method import Method, Prediction
from latentwire.models.batching import by_length
from latentwire.progress import Progress


@METHODS.add("text_relay")
class TextRelay(Method):
    """A fair relay.

    The sender is asked for what the receiver needs, in the words that did best on val; it decodes
    greedily with a KV cache and stops at its end-of-sequence token; the receiver's prompt lists
    the labels and is the one that did best on val behind these relays.
    """

    name = "text_relay"
    about = "sender writes, receiver reads that"

    def __init__(self, context: Context) -> None:
        self.context = context
        assert context.setting is not None
        self.prompts = context.task.handed_prompts(context.setting)
        self.pair = (context.task.relay_prompts[0], self.prompts[0])
        self.on_val: dict[tuple[str, str], float] = {}

    def prepare(self, progress: Progress) -> None:
        val = self.context.prompt_val()
        self.on_val = {}
        for relay in self.context.task.relay_prompts:
            written = self._write(relay, val, progress)
            for prompt in self.prompts:
                found = self._read(prompt, val, written, progress)
                self.on_val[relay, prompt] = mean_value(found)
        self.pair = best_prompt(self.on_val)

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        written = self._write(self.pair[0], examples, progress)
        return self._read(self.pair[1], examples, written, progress, fresh)

    def settings(self) -> dict[str, Any]:
        return {
            "relay_prompt": self.pair[0],
            "prompt": self.pair[1],
            "relay_tokens": self.context.relay_tokens,
            "val_score": [
                {"relay_prompt": relay, "prompt": prompt, "score": value}
                for (relay, prompt), value in self.on_val.items()
            ],
        }

    def _write(self, template: str, examples: Sequence[Example], progress: Progress) -> list[str]:
        reader = self.context.sender_as_reader
        asker = self.context.asker(reader.lm, template)
        prompts = [asker.read(example)[0].prompt for example in examples]
        written = [""] * len(examples)
        with progress.task("relay writes", len(examples)) as bar:
            for index in by_length([len(p.before) for p in prompts], self.context.batch_size):
                texts = reader.write(
                    [prompts[i] for i in index], max_new_tokens=self.context.relay_tokens
                )
                for i, text in zip(index, texts):
                    written[i] = text
                bar.advance(len(index))
        return written

    def _read(
        self,
        template: str,
        examples: Sequence[Example],
        written: Sequence[str],
        progress: Progress,
        fresh: bool = False,
    ) -> list[Prediction]:
        reader = self.context.receiver
        asker = self.context.asker(reader.lm, template)
        return self.context.answer(
            reader,
            examples,
            [asker.hand(e, text) for e, text in zip(examples, written)],
            progress,
            "relay is read",
            ranking_only=fresh,
            sent=[{"n_bytes": len(text.encode()), "text": text} for text in written],
        )
