"""Text relays, the baseline of a bridge: the sender writes a text, the receiver reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Method, Prediction
from latentwire.eval.method_pool import complete
from latentwire.methods.handoff import (
    HandoffPrompt,
    answer_handoff,
    handoff_prompts,
    score_handoff,
)
from latentwire.methods.prompt_choice import PromptChoice
from latentwire.models.batching import batch_by_length


@METHODS.add("text_relay")
class TextRelay(Method):
    """Relays a text with the best prompts on val for both models.

    The sender is asked to write what the receiver needs to know. It decodes greedily and stops at
    its end-of-sequence token.

    Args:
        context: Context of the method.
        relay_tokens: Maximum number of sender tokens of a relayed text.
    """

    about = "sender writes, receiver reads that"
    beats: ClassVar[tuple[str, ...]] = ("zeroshot_sender",)
    position = 50
    in_eval = True
    writes = True
    version = 2  # 2: calibrated labels

    def __init__(self, context: Context, *, relay_tokens: int = 64) -> None:
        super().__init__(context)
        if relay_tokens < 1:
            raise UsageError(f"relay_tokens of {self.name} must be 1 or more, not {relay_tokens}.")
        self.relay_tokens = relay_tokens
        self.relay_prompts = self.candidates()
        self.choice = PromptChoice((self.relay_prompts[0], handoff_prompts(context)[0]))
        self._written: dict[str, dict[Example, str]] = {}

    @property
    def relay_prompt(self) -> str:
        """Template of the sender's prompt."""
        return self.choice.prompt[0]

    @property
    def handoff_prompt(self) -> HandoffPrompt:
        """Prompt of the receiver."""
        return self.choice.prompt[1]

    def candidates(self) -> tuple[str, ...]:
        """Return the templates of the sender's prompt that are tried on val."""
        return self.context.task.relay_prompts

    def prepare(self, progress: Progress) -> None:
        val = self.context.prompt_val()
        on_val = {}
        for relay in self.relay_prompts:
            written = self._write(relay, val, progress)
            for prompt in handoff_prompts(self.context):
                on_val[relay, prompt] = score_handoff(
                    self.context, prompt, written, progress, "reading relays"
                )
        self.choice = PromptChoice.best(on_val)

    def restore(self, settings: Mapping[str, Any]) -> bool:
        self.choice = PromptChoice.from_json(
            settings, lambda row: (row["relay_prompt"], HandoffPrompt(row["prompt"]))
        )
        return True

    def predict(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[Prediction]:
        written = self.write(examples, progress, fresh=fresh)
        return self.read(examples, written, progress, fresh=fresh)

    def settings(self) -> dict[str, Any]:
        choice = self.choice.to_json(
            lambda prompts: {"relay_prompt": prompts[0], "prompt": prompts[1].prompt}
        )
        return {**choice, "relay_tokens": self.relay_tokens}

    def write(
        self, examples: Sequence[Example], progress: Progress, *, fresh: bool = False
    ) -> list[str]:
        """Return the sender's text for each example, generated once unless `fresh`."""
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
        """Return the receiver's answers from these texts, with the chosen prompt."""
        return answer_handoff(
            self.context,
            self.handoff_prompt,
            examples,
            texts,
            progress,
            "reading relays",
            log_prior=self.choice.log_prior,
            fresh=fresh,
        )

    def _write(self, template: str, examples: Sequence[Example], progress: Progress) -> list[str]:
        return complete(
            self._written.setdefault(template, {}),
            examples,
            lambda missing: self._decode(template, missing, progress),
        )

    def _decode(self, template: str, examples: Sequence[Example], progress: Progress) -> list[str]:
        reader = self.context.sender_as_reader
        builder = self.context.prompt_builder(reader.lm, template)
        prompts = [builder.build(example)[0].prompt for example in examples]
        written = [""] * len(examples)
        with progress.task("writing relays", len(examples)) as bar:
            for index in batch_by_length([len(p.before) for p in prompts], self.context.batch_size):
                texts = reader.write([prompts[i] for i in index], max_new_tokens=self.relay_tokens)
                for i, text in zip(index, texts, strict=True):
                    written[i] = text
                bar.advance(len(index))
        return written


_THINK = (
    "{task}\n\nThink step by step before you answer: what does the text say, and what follows "
    "from it?\nThoughts:",
    "Another model must solve this without seeing it.\n\n{task}\n\nThink step by step about what "
    "it needs to know, then say it.\nStep by step:",
    # Kojima et al. 2022, Large Language Models are Zero-Shot Reasoners, arXiv:2205.11916.
    "{task} Let's think step by step.",
)


@METHODS.add("cot_relay")
class CotRelay(TextRelay):
    """Relays the step-by-step reasoning of the sender."""

    about = "sender thinks step by step, receiver reads that"
    beats = ()
    position = 51
    in_eval = False

    def candidates(self) -> tuple[str, ...]:
        aware = self.context.task.sender_prompt_aware
        return tuple(think.replace("{task}", aware) for think in _THINK)
