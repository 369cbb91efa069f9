"""Methods that learn soft tokens independent of the text: prompt tuning, and a blind control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from latentwire.bridge import Bridge
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.data.spec import Setting
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Prediction
from latentwire.methods.lora import best_template
from latentwire.methods.trained_wire import TrainedWireMethod
from latentwire.models import Receiver
from latentwire.wire.spec import WireSpec
from latentwire.wire.wire import Wire


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

    Soft tokens are initialized with the embeddings of the label words. Examples, steps and batch
    size are those of the bridge.

    Args:
        context: Context of the method.
        lr: Peak learning rate; the default is the best of three on the val splits of two tasks
            (docs/LOG.md, 2026-11-28).
    """

    # Independent of the version of messages, since nothing is sent.
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


@METHODS.add("prompt_tuning")
class PromptTuning(LearnedPrefixMethod):
    """Puts learned soft tokens, as many as in a message, before the best zero-shot prompt."""

    about = "receiver reads learned soft tokens and the text"
    beats = ("zeroshot_receiver",)
    position = 70

    def build(self, progress: Progress) -> Wire:
        return self.prefix_wire("shared", best_template(self.context, progress))


@METHODS.add("prefix_blind")
class PrefixBlind(LearnedPrefixMethod):
    """Puts learned soft tokens, as many as in a message, into the bridge's prompt.

    Its score shows what the receiver can learn from labels alone.
    """

    about = "control: learned soft tokens, no text"
    role = "control"
    blind = True
    position = 15
    timed = False

    def build(self, progress: Progress) -> Wire:
        context = self.context
        # In the setting `shared` the receiver would read the text itself.
        setting: Setting = "blind" if context.setting == "shared" else context.setting
        wire = context.wire if setting == context.setting else None
        return self.prefix_wire(
            setting, wire.prompt_builder(context.task).template if wire else None
        )
