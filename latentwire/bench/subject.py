"""What is measured: a trained run, a pair with an untrained bridge, or random weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from latentwire.bench.synthetic import made_up_task
from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress
from latentwire.data import Task
from latentwire.eval.context import Context
from latentwire.eval.evaluate import context_of
from latentwire.models import LanguageModel, Prompt, Receiver
from latentwire.models.random_models import random_pair
from latentwire.wire.wire import Wire

DEFAULT_INPUT_TOKENS = 60


class ExactWriter(Receiver):
    """A receiver that writes exactly as many tokens as it may.

    What is compared then writes equally much, and a relay has the length it is said to have. The
    stop rule is looked at as ever, it only ends nothing.
    """

    def stream(
        self,
        prompts: Sequence[Prompt],
        soft: Float[Tensor, "b k dr"] | None = None,
        *,
        max_new_tokens: int = 64,
        min_new_tokens: int = 0,
        stop: Sequence[str] = (),
    ) -> Iterator[list[int | None]]:
        return super().stream(
            prompts,
            soft,
            max_new_tokens=max_new_tokens,
            min_new_tokens=max_new_tokens,
            stop=stop,
        )


@dataclass(frozen=True)
class Subject:
    """A wire and a task whose texts go through it.

    Args:
        wire: Trained or not: speed does not depend on it.
        task: What the receiver is asked.
        run: Folder of the trained run, if it is one.
        input_tokens: Sender tokens of each text; None leaves the task's texts as they are.
    """

    wire: Wire
    task: Task
    run: Path | None = None
    input_tokens: int | None = None

    @property
    def lms(self) -> tuple[LanguageModel, LanguageModel]:
        """Sender and receiver."""
        return self.wire.sender.lm, self.wire.receiver.lm

    def reading(self, input_tokens: int | None) -> Subject:
        """The same with texts of another length; models and bridge are shared."""
        return replace(self, input_tokens=input_tokens)

    def exact(self) -> Wire:
        """The wire, reading texts as long as they are and writing answers of one length."""
        wire, spec = self.wire, self.wire.spec
        if self.input_tokens is not None:
            spec = replace(spec, max_tokens=self.input_tokens)
        writer = ExactWriter(wire.receiver.lm, wire.receiver.reads)
        return wire.replace(receiver=writer, task=self.task, spec=spec)

    def context(self, wire: Wire) -> Context:
        """What methods work with: both models write exactly what they may."""
        return context_of(wire, self.task, sender_as_reader=ExactWriter(wire.sender.lm))

    def describe(self) -> dict[str, Any]:
        """What results say about it."""
        return {
            "pair": self.wire.pair,
            "task": self.task.name,
            "run": None if self.run is None else str(self.run),
            "trained": self.run is not None,
            "bridge": self.wire.spec.bridge,
            "soft_tokens": self.wire.spec.soft_tokens,
            "layers": list(self.wire.spec.layers),
            "sender_layers": self.wire.sender.lm.n_layers,
            "input_tokens": self.input_tokens,
            "compiled": self.wire.compiled is not None,
        }


def open_subject(
    folder: Path,
    *,
    run: Path | None = None,
    pair: str | None = None,
    random_weights: str | None = None,
    bridge: str = "perceiver",
    soft_tokens: int = 8,
    layer: int | None = None,
    input_tokens: int | None = None,
    n_train: int = 64,
    compiled: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    progress: Progress | None = None,
) -> Subject:
    """Load or make what is measured; the embedded pair with an untrained bridge by default.

    Args:
        folder: Where a made-up task is written; it must stay while the subject is used.
        run: Folder of a trained run, measured on val texts of its own task.
        pair: A preset of models, with an untrained bridge and a made-up task.
        random_weights: The same for two built-in shapes, `SENDER,RECEIVER`.
        bridge: Kind of an untrained bridge.
        soft_tokens: Length of its message.
        layer: Sender layer it reads.
        input_tokens: Sender tokens of each text; a run's texts as they are by default, else 60.
        n_train: Training examples of a made-up task.
        compiled: Whether the bridge runs through torch.compile (`Wire.compile`).
        device: As in `Wire.build`.
        dtype: As in `Wire.build`.
        progress: Told when a model is converted.
    Raises: UsageError: If more than one thing is to be measured, or a run has no task.
    """
    if sum(each is not None for each in (run, pair, random_weights)) > 1:
        raise UsageError("Give one of --run, --pair and --random-weights, not several.")
    if input_tokens is not None and input_tokens < 1:
        raise UsageError(f"--input-tokens is {input_tokens}; it must be at least 1.")
    how: dict[str, Any] = {"device": device, "dtype": dtype}
    if run is not None:
        wire = Wire.from_pretrained(run, progress=progress, **how)
        task = wire.need_task()
    else:
        sender, receiver = random_pair(random_weights, **how) if random_weights else (None, None)
        wire = Wire.build(
            sender,
            receiver,
            pair=pair,
            bridge=bridge,
            soft_tokens=soft_tokens,
            layer=layer,
            progress=progress,
            **how,
        )
        task = wire.task = made_up_task(folder, n_train)
        input_tokens = input_tokens or DEFAULT_INPUT_TOKENS
    if compiled:
        wire.compile()
    return Subject(wire, task, run, input_tokens)
