"""A wire: an encoder and a decoder in one process."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from jaxtyping import Float
from torch import Tensor

from latentwire.bridge import BRIDGES, Bridge, build_bridge
from latentwire.bridge.compiled import CompiledBridge
from latentwire.core.errors import PairMismatchError
from latentwire.core.progress import Progress
from latentwire.data import Example, Task
from latentwire.data.metrics import Response
from latentwire.data.spec import Setting
from latentwire.models import LanguageModel, Receiver, Sender, SenderStates
from latentwire.models.loading import load_pair
from latentwire.models.sender import default_layer
from latentwire.prompting.builder import PromptBuilder
from latentwire.wire.basis import Basis
from latentwire.wire.codecs import CODECS
from latentwire.wire.contract import Contract, HasContract, ModelIdentity
from latentwire.wire.decoder import Decoder
from latentwire.wire.encoder import Encoder
from latentwire.wire.initialization import pair_facts
from latentwire.wire.message import Message
from latentwire.wire.saving import load_contract, load_side, load_weights, save_wire
from latentwire.wire.spec import Answer, WireSpec


class Wire(HasContract):
    """A latent channel from one frozen model to another: an encoder and a decoder.

    Create one with `Wire.build` or `Wire.from_pretrained`; train it with `train_bridge`.

    Args:
        encoder: Sending half.
        decoder: Receiving half of the same wire.
    Raises: PairMismatchError: If the halves belong to different wires.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        ours, theirs = encoder.contract, decoder.contract
        if (ours.fingerprint, ours.receiver) != (theirs.fingerprint, theirs.receiver):
            raise PairMismatchError(
                f"The encoder has bridge {ours.fingerprint} and receiver {ours.receiver}; the "
                f"decoder has {theirs.fingerprint} and {theirs.receiver}. Load both from one run."
            )
        self.encoder, self.contract = encoder, ours
        self.decoder = Decoder(decoder.receiver, ours)  # shares the contract
        self.bridge.to(self.receiver.lm.device)

    # -- building and saving ------------------------------------------------------------------

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
        """Load a pair of models and connect them with an untrained bridge.

        Args:
            sender: Sending model: embedded name, local folder, `.gguf` file, hub id, or a loaded
                model.
            receiver: Receiving model: embedded name, local folder, `.gguf` file, hub id, or a
                loaded model.
            pair: Preset for models that are not given: `embedded` (default), `paper`, `fake`.
            bridge: Bridge name, see `latentwire bridges`.
            soft_tokens: Number of soft tokens in a message.
            layer: Sender layer(s) to read; by default the layer at 30 % of the depth.
            sender_prompt: What the sender reads: `raw`, the text, or `aware`, text and task.
            setting: `blind`, `shared` or `split`; None for the task's default.
            max_tokens: Maximum text length in sender tokens; None for the task's limit.
            prompt: Prompt of the receiver, with the placeholder `{context}` for the message; by
                default training chooses one of the task's prompts.
            codec: Message codec: fp32, fp16, bf16, int8, int4 or lowrank.
            seed: Random seed for the initial weights of the bridge.
            device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
            dtype: Dtype of the frozen models: `auto`, `float32`, `bfloat16` or `float16`.
            progress: Reports the conversion of a model.
            options: Options of the bridge.
        Raises: UnknownNameError, UsageError, MissingPackageError, ModelError (also if the bridge
            writes a deep prefix and the receiver takes none).
        """
        lms = load_pair(sender, receiver, pair=pair, device=device, dtype=dtype, progress=progress)
        kind = BRIDGES.get(bridge)
        reading, answering = Sender(lms[0]), Receiver(lms[1], reads=kind.writes)
        if layer is None:
            layer = default_layer(lms[0].n_layers)
        spec = WireSpec(
            bridge=kind.kind,
            soft_tokens=soft_tokens,
            layers=reading.check_layers([layer] if isinstance(layer, int) else layer),
            sender_prompt=sender_prompt,
            setting=setting,
            max_tokens=max_tokens,
            prompt=prompt,
            codec=codec,
            options=options,
        )
        untrained = build_bridge(
            kind.kind,
            n_layers=len(spec.layers),
            sender_width=lms[0].width,
            receiver_width=answering.soft_width,
            soft_tokens=soft_tokens,
            seed=seed,
            **options,
        )
        return cls.of(reading, answering, untrained.eval(), spec)

    @classmethod
    def of(cls, sender: Sender, receiver: Receiver, bridge: Bridge, spec: WireSpec) -> Wire:
        """Connect two loaded models with a bridge.

        Raises: UsageError: If the bridge writes something that the receiver does not read.
        """
        contract = Contract(
            spec=spec,
            sender=ModelIdentity.of(sender.lm),
            receiver=ModelIdentity.of(receiver.lm),
            soft_width=bridge.receiver_width,
            writes=bridge.writes,
        )
        return cls(Encoder(sender, bridge, contract), Decoder(receiver, contract))

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
        """Load a trained wire.

        Args:
            folder: Run folder, or the bridge folder inside it.
            sender: Sending model or its current location; the saved name by default.
            receiver: Receiving model or its current location; the saved name by default.
            device: See `build`.
            dtype: See `build`.
            progress: See `build`.
        Raises:
            BridgeError: If the folder is missing, foreign or damaged.
            PairMismatchError: If the bridge was trained for another model.
        """
        run = Path(folder)
        contract, bridge = load_contract(run), load_weights(run)
        how: dict[str, Any] = {"device": device, "dtype": dtype, "progress": progress}
        sending = load_side(run, "sender", sender, **how)
        if (sender or contract.sender.name) == (receiver or contract.receiver.name):
            receiver = sending  # load a model in both roles once
        answering = load_side(run, "receiver", receiver, **how)
        return cls(
            Encoder(Sender(sending), bridge, contract),
            Decoder(Receiver(answering, reads=contract.writes), contract),
        )

    def save(self, folder: str | Path) -> None:
        """Save the bridge and the contract to `folder`, atomically."""
        self.contract.fingerprint = self.fingerprint
        save_wire(Path(folder), self.bridge, self.contract, self.sender.lm, self.receiver.lm)

    def replace(self, *, receiver: Receiver | None = None, **changes: Any) -> Wire:
        """Return a copy with another receiver object or changed contract fields.

        Models and bridge are shared with this wire.

        Args:
            receiver: Receiver of the same model.
            changes: Fields of `Contract`, such as `spec`, `task`, `prompts` or `basis`.
        """
        encoder = copy(self.encoder)
        encoder.contract = replace(self.contract, **changes)
        return Wire(encoder, Decoder(receiver or self.receiver, encoder.contract))

    def __copy__(self) -> Wire:
        return self.replace()

    def with_codec(self, codec: str) -> Wire:
        """Return a copy that uses another codec.

        Raises: UnknownNameError: If there is no such codec.
        """
        return self.replace(spec=replace(self.spec, codec=CODECS.get(codec).name))

    # -- parts --------------------------------------------------------------------------------

    @property
    def sender(self) -> Sender:
        """Sending model."""
        return self.encoder.sender

    @property
    def receiver(self) -> Receiver:
        """Receiving model."""
        return self.decoder.receiver

    @property
    def bridge(self) -> Bridge:
        """Bridge from the sender's states to the receiver's soft tokens."""
        return self.encoder.bridge

    @property
    def compiled(self) -> CompiledBridge | None:
        """The compiled bridge, if `compile` was called."""
        return self.encoder.compiled

    @property
    def fingerprint(self) -> str:
        """16 hex digits that identify the bridge's weights; messages carry them."""
        return self.encoder.fingerprint

    @property
    def pair(self) -> dict[str, str]:
        """Names of the two models."""
        return {"sender": self.sender.lm.name, "receiver": self.receiver.lm.name}

    # -- training and preparation -------------------------------------------------------------

    def initialize(
        self,
        states: SenderStates,
        words: Sequence[str],
        seed: int = 0,
        *,
        texts: Sequence[str] = (),
    ) -> None:
        """Initialize the bridge from facts about the pair, before training.

        Args:
            states: Sender states of some training texts.
            words: Texts whose receiver embeddings initialize the soft tokens, in turn. If empty,
                random embeddings are used.
            seed: Random seed for these.
            texts: Texts of the states, in the same order; required by bridges that start from
                shared spans.
        Raises: ConfigError: If the bridge needs texts and there are none.
        """
        lms = self.sender.lm, self.receiver.lm
        facts = pair_facts(self.bridge, states, *lms, words, seed, texts=texts)
        self.bridge.initialize(facts)

    def compile(self, *, mode: str | None = "reduce-overhead", **options: Any) -> None:
        """Compile the bridge: see `Encoder.compile`."""
        self.encoder.compile(mode=mode, **options)

    def fit_lowrank(
        self, states: SenderStates | Iterable[SenderStates], rank: int | None = None
    ) -> Basis:
        """Fit the basis of `lowrank` messages: see `Encoder.fit_lowrank`."""
        return self.encoder.fit_lowrank(states, rank)

    # -- answering ----------------------------------------------------------------------------

    @overload
    def answer(
        self,
        text: str,
        question: str | None = None,
        *,
        choices: Sequence[str] | None = None,
        max_new_tokens: int | None = None,
    ) -> Answer: ...
    @overload
    def answer(
        self,
        text: list[str] | tuple[str, ...],
        question: Sequence[str] | None = None,
        *,
        choices: Sequence[str] | Sequence[Sequence[str]] | None = None,
        max_new_tokens: int | None = None,
    ) -> list[Answer]: ...
    def answer(
        self,
        text: str | list[str] | tuple[str, ...],
        question: str | Sequence[str] | None = None,
        *,
        choices: Sequence[str] | Sequence[Sequence[str]] | None = None,
        max_new_tokens: int | None = None,
    ) -> Answer | list[Answer]:
        """Send a text from the sender to the receiver and return the receiver's answer.

        Args:
            text: One text, or several.
            question: Question about the text (one per text), for tasks whose items have one.
            choices: Choices to score, as in `Decoder.answer`; the task's labels by default.
            max_new_tokens: Maximum length of a written answer in tokens; by default the task's
                limit, or 32.
        Raises: UsageError: If the wire has not been trained, a text is empty or a question is
            missing.
        """
        texts = [text] if isinstance(text, str) else text
        questions = [question] if isinstance(question, str) else question
        messages = self.encoder.encode(texts, questions)
        length = max_new_tokens or self.need_task().max_new_tokens or 32
        answers = self.decoder.answer(messages, questions, choices=choices, max_new_tokens=length)
        return answers[0] if isinstance(text, str) else answers

    def stream(self, text: str, question: str | None = None) -> Iterator[str]:
        """Generate the answer to one text and yield it in pieces.

        Raises: UsageError: As `answer` does; also if the task has choices.
        """
        questions = [question] if question else None
        return self.decoder.stream(self.encoder.encode([text], questions)[0], question)

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
        """Return the message of a text: see `Encoder.encode`.

        Args:
            texts: One text, or several.
            questions: One question per text, for tasks whose items have one.
        """
        asked = [questions] if isinstance(questions, str) else questions
        messages = self.encoder.encode(texts, asked)
        return messages[0] if isinstance(texts, str) else messages

    def read(self, data: bytes, *, bridges: Collection[str] = ()) -> Message:
        """Read a message from bytes: see `Decoder.read`."""
        return self.decoder.read(data, bridges={self.fingerprint, *bridges})

    def read_all(self, datas: Sequence[bytes], *, bridges: Collection[str] = ()) -> list[Message]:
        """Read several messages from bytes: see `Decoder.read`."""
        return self.decoder.read_all(datas, bridges={self.fingerprint, *bridges})

    def receive(
        self,
        messages: Sequence[Message | bytes],
        questions: Sequence[str] | None = None,
        *,
        bridges: Collection[str] = (),
    ) -> list[Response]:
        """Return the receiver's response to each message: see `Decoder.receive`."""
        known = {self.fingerprint, *bridges}
        return self.decoder.receive(messages, questions, bridges=known)

    # -- single steps --------------------------------------------------------

    def sender_texts(self, task: Task, examples: Sequence[Example]) -> tuple[list[str], list[bool]]:
        """Return the sender's input text for each example, and whether its context was cut."""
        return self.encoder.sender_texts(task, examples)

    def soft_tokens(self, states: SenderStates) -> Float[Tensor, "b k dr"]:
        """Return soft tokens for sender states, float32, on the receiver's device."""
        return self.encoder.soft_tokens(states)

    def soft_tokens_of(self, texts: Sequence[str]) -> Float[Tensor, "b k dr"]:
        """Return the soft tokens of sender texts, computed in batches."""
        return self.encoder.soft_tokens_of(texts)

    def pack(self, soft: Float[Tensor, "b k dr"]) -> list[Message]:
        """Return soft tokens as messages, rounded by the wire's codec."""
        return self.encoder.pack(soft)

    def respond(
        self,
        task: Task,
        examples: Sequence[Example],
        soft: Float[Tensor, "b k dr"],
        *,
        ranking_only: bool = False,
    ) -> list[Response]:
        """Return the receiver's response to each example: see `Decoder.respond`."""
        return self.decoder.respond(task, examples, soft, ranking_only=ranking_only)

    def prompt_builder(self, task: Task) -> PromptBuilder:
        """Return the builder of the receiver's prompts around soft tokens."""
        return self.decoder.prompt_builder(task)

    def prompts_for(self, task: Task) -> tuple[str, ...]:
        """Return the prompts that training chooses from: the specified one, or the task's."""
        return self.decoder.prompts_for(task)
