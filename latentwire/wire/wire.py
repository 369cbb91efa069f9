"""A wire: sender + bridge + receiver. The only place where models and bridges meet."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.bridge import BRIDGES, Bridge
from latentwire.bridge.compiled import CompiledBridge
from latentwire.bridge.saving import bridge_fingerprint
from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress
from latentwire.data import Example, Task
from latentwire.data.metrics import Response
from latentwire.data.spec import Setting
from latentwire.models import LanguageModel, Receiver, Sender, SenderStates
from latentwire.models.loading import load_pair
from latentwire.prompting.builder import PromptBuilder, examples_of, sender_texts
from latentwire.prompting.scoring import respond
from latentwire.wire.basis import DEFAULT_RANK, Basis, fit_basis
from latentwire.wire.building import chosen_layers, untrained_bridge
from latentwire.wire.codecs import CODECS
from latentwire.wire.exchange import (
    read_by_sender,
    read_messages,
    receive_messages,
    send_examples,
    stream_answer,
    write_messages,
)
from latentwire.wire.header import LIMITS
from latentwire.wire.initialization import pair_facts
from latentwire.wire.message import Message
from latentwire.wire.saving import load_wire, save_wire
from latentwire.wire.spec import Answer, WireSpec

__all__ = ["Answer", "Wire", "WireSpec"]


class Wire:
    """A latent channel from one frozen model to another.

    Build one with `Wire.build` or `Wire.from_pretrained`; train it with `train_bridge`.
    """

    def __init__(self, sender: Sender, receiver: Receiver, bridge: Bridge, spec: WireSpec) -> None:
        if receiver.reads != bridge.writes:
            raise UsageError(
                f"The {bridge.kind} bridge writes {bridge.writes}, this receiver reads "
                f"{receiver.reads}. Give Receiver(lm, reads='{bridge.writes}')."
            )
        self.sender, self.receiver, self.spec = sender, receiver, spec
        self.bridge = bridge.to(receiver.lm.device)
        self.task: Task | None = None
        self.prompts: dict[str, str] = {}  # task -> what its receiver reads, chosen in training
        self.training: dict[str, Any] = {}  # settings it was trained with, for equal budgets
        self.basis: Basis | None = None  # of lowrank messages, see fit_lowrank
        self.limits = LIMITS  # what it accepts as a message
        self.compiled: CompiledBridge | None = None  # of the bridge, see compile
        self._hashed: tuple[tuple[int, ...], str] | None = None

    # -- making and keeping -------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        sender: str | LanguageModel | None = None,
        receiver: str | LanguageModel | None = None,
        *,
        pair: str | None = None,
        bridge: str = "perceiver",
        soft_tokens: int = 8,
        layer: int | Sequence[int] | None = None,
        sender_prompt: str = "raw",
        setting: Setting | None = None,
        max_tokens: int | None = None,
        prompt: str | None = None,
        codec: str = "fp16",
        seed: int = 0,
        device: str = "auto",
        dtype: str = "auto",
        progress: Progress | None = None,
        **options: Any,
    ) -> Wire:
        """Load a pair and put an untrained bridge between them.

        Args:
            sender: Name of the sending model, or a loaded one.
            receiver: Name of the receiving model, or a loaded one.
            pair: Preset for names not given: `embedded` (default), `paper`, `fake`.
            bridge: Kind of bridge, see `latentwire bridges`.
            soft_tokens: Length of a message.
            layer: Sender layer(s) to read; at three tenths of the depth by default.
            sender_prompt: `raw` or `aware`.
            setting: `blind`, `shared` or `split`; the task's own by default.
            max_tokens: Longest text in sender tokens; the task's limit by default.
            prompt: What the receiver reads, with the place `{context}` for the message; chosen in
                training by default.
            codec: How messages are written: fp32, fp16, bf16, int8, int4, lowrank.
            seed: Of the bridge's first weights.
            device: `auto`, `cpu`, `cuda`, `cuda:N`, `mps`.
            dtype: Of the frozen models: `auto`, `float32`, `bfloat16`, `float16`.
            progress: Told when a model is converted.
            options: Options of the bridge's kind.
        Raises: UnknownNameError, UsageError, MissingPackageError, ModelError (also where a kind
            writes a deep prefix and the receiver takes none).
        """
        lms = load_pair(sender, receiver, pair=pair, device=device, dtype=dtype, progress=progress)
        kind = BRIDGES.get(bridge)
        reading, answering = Sender(lms[0]), Receiver(lms[1], reads=kind.writes)
        spec = WireSpec(
            bridge=kind.kind,
            soft_tokens=soft_tokens,
            layers=chosen_layers(reading, layer),
            sender_prompt=sender_prompt,
            setting=setting,
            max_tokens=max_tokens,
            prompt=prompt,
            codec=codec,
            options=options,
        )
        return cls(reading, answering, untrained_bridge(reading, answering, spec, seed), spec)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        sender: str | LanguageModel | None = None,
        receiver: str | LanguageModel | None = None,
        device: str = "auto",
        dtype: str = "auto",
        progress: Progress | None = None,
    ) -> Wire:
        """Load a trained wire from a run folder or a bridge folder.

        Args:
            folder: The run's folder, or its `bridge/`.
            sender: Only if the model now lies elsewhere than when the bridge was trained.
            receiver: The same for the receiver.
            device: As in `build`.
            dtype: As in `build`.
            progress: As in `build`.
        Raises:
            BridgeError: If the folder is missing, foreign or damaged.
            PairMismatchError: If a model is not the one the bridge was trained for.
        """
        saved = load_wire(
            Path(folder), sender, receiver, device=device, dtype=dtype, progress=progress
        )
        receiving = Receiver(saved.lms[1], reads=saved.bridge.writes)
        wire = cls(Sender(saved.lms[0]), receiving, saved.bridge, saved.spec)
        wire.task, wire.prompts, wire.training = saved.task, saved.prompts, saved.training
        wire.basis = saved.basis
        return wire

    def save(self, folder: str | Path) -> None:
        """Write the bridge and what it belongs to into `folder`, atomically."""
        save_wire(self, Path(folder))

    @property
    def fingerprint(self) -> str:
        """Names the bridge's weights; messages carry it."""
        versions = tuple(value._version for value in self.bridge.state_dict().values())
        if self._hashed is None or self._hashed[0] != versions:  # hashing costs milliseconds
            self._hashed = (versions, bridge_fingerprint(self.bridge))
        return self._hashed[1]

    @property
    def pair(self) -> dict[str, str]:
        """Names of the two models."""
        return {"sender": self.sender.lm.name, "receiver": self.receiver.lm.name}

    def initialize(
        self,
        states: SenderStates,
        words: Sequence[str],
        seed: int = 0,
        *,
        texts: Sequence[str] = (),
    ) -> None:
        """Give the bridge the scales of the pair before training.

        Args:
            states: Sender states of some training texts.
            words: Texts whose receiver embeddings the soft tokens start from, in turn; real
                embeddings drawn at random where there are none.
            seed: Of that draw.
            texts: What the sender read to have these states, in their order. Kinds that start
                from shared text need it.
        Raises: ConfigError: If the bridge's kind needs texts and there are none.
        """
        lms = self.sender.lm, self.receiver.lm
        facts = pair_facts(self.bridge, states, *lms, words, seed, texts=texts)
        self.bridge.initialize(facts)

    def compile(self, *, mode: str | None = "reduce-overhead", **options: Any) -> None:
        """Let torch compile the bridge for answering, from the next text on.

        A GPU then starts it as one CUDA graph. The first texts of a new length or number wait for
        that; it pays where many are answered. Answers differ by rounding at most. Needs what
        torch.compile does: Triton on a GPU, a C++ compiler on a CPU.

        Args:
            mode: Of torch.compile; `reduce-overhead` is the one with CUDA graphs.
            options: More of torch.compile, such as `backend`.
        """
        self.compiled = CompiledBridge(self.bridge, mode=mode, **options)

    # -- using --------------------------------------------------------------------------------

    def sender_texts(self, task: Task, examples: Sequence[Example]) -> tuple[list[str], list[bool]]:
        """What the sender reads for each example, cut to length, and whether it was cut."""
        spec, lm = self.spec, self.sender.lm
        return sender_texts(task, lm, examples, spec.sender_prompt, spec.max_tokens, spec.setting)

    @torch.inference_mode()
    def soft_tokens(self, states: SenderStates) -> Float[Tensor, "b k dr"]:
        """Soft tokens for sender states, float32, on the receiver's device."""
        device = self.receiver.lm.device
        run = self.compiled or self.bridge
        return run(states.states.to(device), states.mask.to(device))

    def soft_tokens_of(self, texts: Sequence[str]) -> Float[Tensor, "b k dr"]:
        """Soft tokens of texts as the sender reads them: batches of like length, one at a time."""
        return read_by_sender(self, texts)

    @overload
    def send(self, texts: str, questions: str | None = None) -> Message: ...
    @overload
    def send(
        self, texts: list[str] | tuple[str, ...], questions: Sequence[str] | None = None
    ) -> list[Message]: ...
    def send(
        self,
        texts: str | list[str] | tuple[str, ...],
        questions: str | Sequence[str] | None = None,
    ) -> Message | list[Message]:
        """The message of a text: what would travel to the receiver's machine.

        Any number of receivers may read it. What it holds was written and read once already.

        Args:
            texts: What the sender reads: one text, or several that are then run as one batch.
            questions: One for each text, for tasks whose items have a question of their own.
        Raises:
            MessageError: If a number does not fit into the wire's codec, or it has no basis.
            UsageError: If a text is empty or a question is missing.
        """
        messages, _ = send_examples(self, self.examples(_listed(texts), _listed(questions)))
        return messages[0] if isinstance(texts, str) else messages

    def read(self, data: bytes, *, bridges: Collection[str] = ()) -> Message:
        """A message from bytes that came from anywhere, within `limits`.

        Args:
            data: What a wire of the same bridge wrote.
            bridges: Fingerprints of other bridges for this receiver whose messages it takes.
        Raises: MessageError: If it is none, or for another wire, before any tensor is made.
        """
        return self.read_all([data], bridges=bridges)[0]

    def read_all(self, datas: Sequence[bytes], *, bridges: Collection[str] = ()) -> list[Message]:
        """The same for several messages. Raises: MessageError: As `read` does."""
        return read_messages(self, datas, bridges)

    def receive(
        self,
        messages: Sequence[Message | bytes],
        questions: Sequence[str] | None = None,
        *,
        bridges: Collection[str] = (),
    ) -> list[Response]:
        """What the receiver answers to each message.

        Args:
            messages: Made by this wire's bridge, as messages or as bytes. `Message.join` makes one
                of several, from any senders.
            questions: What it is asked, for tasks whose items have a question of their own.
            bridges: Fingerprints of other bridges for this receiver whose messages it takes.
        Raises:
            MessageError: If another bridge made a message, it is for another receiver, or the
                messages are not equally long.
            UsageError: If a question is missing.
        """
        read = [self.read(m, bridges=bridges) if isinstance(m, bytes) else m for m in messages]
        examples = self.examples(["-"] * len(read), questions)
        return receive_messages(self, read, examples, bridges)

    def respond(
        self,
        task: Task,
        examples: Sequence[Example],
        soft: Float[Tensor, "b k dr"],
        *,
        ranking_only: bool = False,
    ) -> list[Response]:
        """The receiver's answer to each example, given its soft tokens."""
        builder = self.prompt_builder(task)
        requests = [builder.build_handoff(example) for example in examples]
        return respond(self.receiver, task, requests, soft, ranking_only=ranking_only)

    def prompt_builder(self, task: Task) -> PromptBuilder:
        """Renders what the receiver reads around the soft tokens."""
        setting = task.setting(self.spec.setting)
        template = self.prompts.get(task.name) or self.prompts_for(task)[0]
        return PromptBuilder(task, self.receiver.lm, template, self.spec.max_tokens, setting)

    def prompts_for(self, task: Task) -> tuple[str, ...]:
        """What the receiver may read around the soft tokens: the one given, or the task's."""
        given = self.spec.prompt
        return (given,) if given else task.handed_prompts(task.setting(self.spec.setting))

    @overload
    def answer(self, text: str, question: str | None = None) -> Answer: ...
    @overload
    def answer(
        self, text: list[str] | tuple[str, ...], question: Sequence[str] | None = None
    ) -> list[Answer]: ...
    def answer(
        self,
        text: str | list[str] | tuple[str, ...],
        question: str | Sequence[str] | None = None,
    ) -> Answer | list[Answer]:
        """Let the sender read, the message travel and the receiver answer the task's question.

        Args:
            text: One text, or several that are then run as one batch.
            question: The question about it (or about each), for tasks whose items have one.
        Raises: UsageError: If the wire was not trained on a task yet, a text is empty or a
            question is missing.
        """
        task = self.need_task()
        examples = self.examples(_listed(text), _listed(question))
        messages, cut = send_examples(self, examples)
        responses = receive_messages(self, messages, examples)
        answers = [Answer.of(response, task, was) for response, was in zip(responses, cut)]
        return answers[0] if isinstance(text, str) else answers

    def stream(self, text: str, question: str | None = None) -> Iterator[str]:
        """As `answer` for one text, but the written answer comes in pieces while it is written.

        Raises: UsageError: As `answer` does; also if answers of the task are chosen, not written.
        """
        task = self.need_task()
        if task.kind != "generation":
            raise UsageError(
                f"Answers of task '{task.name}' are chosen, not written: use wire.answer(text)."
            )
        return stream_answer(self, self.examples([text], _listed(question)))

    def pack(self, soft: Float[Tensor, "b k dr"]) -> list[Message]:
        """Soft tokens as messages of this wire."""
        return write_messages(self, soft)

    def with_codec(self, codec: str) -> Wire:
        """This wire with messages written in another way; models, bridge and basis are shared.

        Raises: UnknownNameError: If there is no such codec.
        """
        other = copy(self)
        other.spec = replace(self.spec, codec=codec)
        return other

    @property
    def lacks_basis(self) -> bool:
        """Whether its codec needs a basis that was not fitted yet."""
        return CODECS[self.spec.codec].needs_basis and self.basis is None

    def fit_lowrank(
        self, states: SenderStates | Iterable[SenderStates], rank: int | None = None
    ) -> Basis:
        """Fit the basis of `lowrank` messages; `save` keeps it, both sides need the same.

        Args:
            states: Sender states of some hundred training texts, in one batch or several.
            rank: Coordinates of one soft token, 1..dr; by default 128, or dr if that is less. More
                cost bytes and save accuracy.
        Raises: UsageError: If the rank is out of range, or there are fewer than two texts.
        """
        batches = [states] if isinstance(states, SenderStates) else states
        soft = torch.cat([self.soft_tokens(batch).cpu() for batch in batches])
        self.basis = fit_basis(soft, min(DEFAULT_RANK, soft.shape[-1]) if rank is None else rank)
        return self.basis

    def examples(self, texts: Sequence[str], questions: Sequence[str] | None) -> list[Example]:
        """A user's texts as examples of the wire's task. Raises: UsageError: As `send` does."""
        return examples_of(self.need_task(), self.spec.setting, texts, questions)

    def need_task(self) -> Task:
        """The task it was trained on. Raises: UsageError: If it was not trained yet."""
        if self.task is None:
            raise UsageError(
                "This wire was not trained yet: run train_bridge(wire, task, out_dir=...) first."
            )
        return self.task


def _listed(given: str | Sequence[str] | None) -> Sequence[str]:
    return [given] if isinstance(given, str) else given or ()
