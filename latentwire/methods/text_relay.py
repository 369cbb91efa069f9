"""The hand-off that a bridge replaces: the sender writes, the receiver reads what was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.context import Context, remembered
from latentwire.eval.method import METHODS, Method, Prediction
from latentwire.methods.handoff import Way, handed_on_val, handed_ways, read_handed
from latentwire.methods.label_calibration import Choice
from latentwire.models.batching import by_length


@METHODS.add("text_relay")
class TextRelay(Method):
    """A fair relay.

    The sender is asked for what the receiver needs, in the words that did best on val; it decodes
    greedily with a KV cache and stops at its end-of-sequence token; the receiver's prompt is the
    one that did best on val behind these relays, prompts that list the labels among them.
    """

    about = "sender writes, receiver reads that"
    beats: ClassVar[tuple[str, ...]] = ("zeroshot_sender",)
    position = 50
    in_eval = True
    writes = True
    version = 2  # 2: calibrated labels

    def __init__(self, context: Context) -> None:
        self.context = context
        self.relay_prompts = self.candidates()
        self.choice = Choice((self.relay_prompts[0], handed_ways(context)[0]))

    @property
    def relay_prompt(self) -> str:
        """What the sender is asked."""
        return self.choice.taken[0]

    @property
    def way(self) -> Way:
        """How the receiver is asked."""
        return self.choice.taken[1]

    def candidates(self) -> tuple[str, ...]:
        """What the sender may be asked: the task's own words."""
        return self.context.task.relay_prompts

    def prepare(self, progress: Progress) -> None:
        val = self.context.prompt_val()
        on_val = {}
        for relay in self.relay_prompts:
            written = self._write(relay, val, progress)
            for way in handed_ways(self.context):
                on_val[relay, way] = handed_on_val(
                    self.context, way, written, progress, "relay is read"
                )
        self.choice = Choice.best(on_val)

    def restore(self, settings: Mapping[str, Any]) -> bool:
        self.choice = Choice.from_json(
            settings, lambda row: (row["relay_prompt"], Way(row["prompt"]))
        )
        return True

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        written = self.write(examples, progress, fresh=fresh)
        return self.read(examples, written, progress, fresh=fresh)

    def settings(self) -> dict[str, Any]:
        told = self.choice.to_json(lambda way: {"relay_prompt": way[0], "prompt": way[1].prompt})
        return {**told, "relay_tokens": self.context.relay_tokens}

    def write(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[str]:
        """What the sender writes about each example; each text is written once per context."""
        if fresh:
            return self._decode(self.relay_prompt, examples, progress)
        return self._write(self.relay_prompt, examples, progress)

    def read(
        self,
        examples: Sequence[Example],
        texts: Sequence[str],
        progress: Progress,
        *,
        fresh: bool = False,
    ) -> list[Prediction]:
        """The receiver's answers behind these texts, in the chosen way."""
        return read_handed(
            self.context,
            self.way,
            examples,
            texts,
            progress,
            "relay is read",
            log_prior=self.choice.log_prior,
            fresh=fresh,
        )

    def _write(self, template: str, examples: Sequence[Example], progress: Progress) -> list[str]:
        known = self.context.relayed.setdefault((template, self.context.relay_tokens), {})
        return remembered(known, examples, lambda new: self._decode(template, new, progress))

    def _decode(self, template: str, examples: Sequence[Example], progress: Progress) -> list[str]:
        reader = self.context.sender_as_reader
        builder = self.context.prompt_builder(reader.lm, template)
        prompts = [builder.build(example)[0].prompt for example in examples]
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
