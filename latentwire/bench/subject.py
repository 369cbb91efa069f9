"""The wire and task of a benchmark: a trained run, an untrained bridge, or random weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from latentwire.bench.synthetic import synthetic_task
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
    """Receiver that always writes the maximum number of tokens.

    Compared methods then write equally long texts, and a relay has exactly its nominal length.
    Stop sequences are still searched for, but do not end a text.
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
    """Wire and task that a benchmark measures.

    Args:
        wire: Wire with a trained or untrained bridge; its speed does not depend on training.
        task: Task that the wire answers.
        run: Run folder of a trained bridge; None for an untrained one.
        input_tokens: Number of sender tokens per text; None keeps the task's texts.
    """

    wire: Wire
    task: Task
    run: Path | None = None
    input_tokens: int | None = None

    @property
    def lms(self) -> tuple[LanguageModel, LanguageModel]:
        """Models of the sender and the receiver."""
        return self.wire.sender.lm, self.wire.receiver.lm

    def with_input_tokens(self, input_tokens: int | None) -> Subject:
        """Return a subject with texts of another length that shares the wire."""
        return replace(self, input_tokens=input_tokens)

    def fixed_length_wire(self) -> Wire:
        """Return a wire that reads whole texts and writes answers of fixed length."""
        wire, spec = self.wire, self.wire.spec
        if self.input_tokens is not None:
            spec = replace(spec, max_tokens=self.input_tokens)
        writer = ExactWriter(wire.receiver.lm, wire.receiver.reads)
        return wire.replace(receiver=writer, task=self.task, spec=spec)

    def context(self, wire: Wire) -> Context:
        """Return a context for methods in which both models write texts of fixed length."""
        return context_of(wire, self.task, sender_as_reader=ExactWriter(wire.sender.lm))

    def describe(self) -> dict[str, Any]:
        """Return the fields that describe the subject in results."""
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
    """Load or build the subject of a benchmark; default: the embedded pair, untrained bridge.

    Args:
        folder: Folder for the files of a synthetic task, needed as long as the subject is used.
        run: Run folder of a trained bridge; its own task provides val texts.
        pair: Preset pair of models, for an untrained bridge and a synthetic task.
        random_weights: Built-in shapes `SENDER,RECEIVER` for models with random weights, an
            untrained bridge and a synthetic task.
        bridge: Kind of the untrained bridge.
        soft_tokens: Number of soft tokens of the untrained bridge.
        layer: Sender layer that the untrained bridge reads.
        input_tokens: Number of sender tokens per text; default: the texts of a run unchanged,
            otherwise 60.
        n_train: Number of training examples of a synthetic task.
        compiled: Whether to compile the bridge with torch.compile (`Wire.compile`).
        device: Device as in `Wire.build`.
        dtype: Dtype as in `Wire.build`.
        progress: Called when a model is converted.
    Raises: UsageError: If more than one of `run`, `pair` and `random_weights` is given, an option
        is out of range, or the run has no task.
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
        task = wire.task = synthetic_task(folder, n_train)
        input_tokens = input_tokens or DEFAULT_INPUT_TOKENS
    if compiled:
        wire.compile()
    return Subject(wire, task, run, input_tokens)
