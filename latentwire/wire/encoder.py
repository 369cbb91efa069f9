"""The sending half of a wire: texts -> messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.bridge import Bridge
from latentwire.bridge.compiled import CompiledBridge
from latentwire.bridge.saving import bridge_fingerprint
from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress
from latentwire.data import Example, Task
from latentwire.models import LanguageModel, Sender, SenderStates
from latentwire.prompting.builder import examples_of, sender_texts
from latentwire.wire.basis import DEFAULT_RANK, Basis, fit_basis
from latentwire.wire.codecs import find_codec
from latentwire.wire.contract import Contract, HasContract
from latentwire.wire.message import Message, need_basis
from latentwire.wire.saving import load_contract, load_side, load_weights


class Encoder(HasContract):
    """Sending half of a wire: turns texts into messages. It does not need the receiver.

    Args:
        sender: Sending model.
        bridge: Bridge that reads the hidden states of the sender.
        contract: Contract of the wire.
    """

    def __init__(self, sender: Sender, bridge: Bridge, contract: Contract) -> None:
        self.sender, self.bridge, self.contract = sender, bridge, contract
        self.compiled: CompiledBridge | None = None
        self._versions: tuple[int, ...] = ()  # of the weights at the time of the fingerprint

    @classmethod
    def from_pretrained(
        cls,
        run: str | Path,
        *,
        sender: str | LanguageModel | None = None,
        device: str = "auto",
        dtype: str = "auto",
        progress: Progress | None = None,
    ) -> Encoder:
        """Load the sender and the bridge of a trained wire. The receiver is not loaded.

        Args:
            run: Run folder, or the bridge folder inside it.
            sender: Sending model or its current location; the saved name by default.
            device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
            dtype: Dtype of the sender: `auto`, `float32`, `bfloat16` or `float16`.
            progress: Reports the conversion of a model.
        Raises:
            BridgeError: If the folder is missing, foreign or damaged.
            PairMismatchError: If the bridge was trained for another sender.
        """
        folder = Path(run)
        contract, bridge = load_contract(folder), load_weights(folder)
        lm = load_side(folder, "sender", sender, device=device, dtype=dtype, progress=progress)
        return cls(Sender(lm), bridge.to(lm.device), contract)

    def encode(
        self, texts: str | Sequence[str], questions: Sequence[str] | None = None
    ) -> list[Message]:
        """Return the message of each text.

        Soft tokens are already rounded by the wire's codec. A message is serialized only when
        `to_bytes` is called.

        Args:
            texts: Texts that the sender reads, in batches of similar length.
            questions: One question per text, for tasks whose items have one. Optional in the
                setting `split`, where only the receiver reads them.
        Raises:
            MessageError: If a number does not fit into the codec, or the wire has no basis.
            UsageError: If the wire has not been trained, a text is empty or a question is missing.
        """
        texts = [texts] if isinstance(texts, str) else texts
        task, spec = self.need_task(), self.spec
        if not all(text.strip() for text in texts):
            raise UsageError("A text to send is empty.")
        setting, prompt = task.setting(spec.setting), spec.sender_prompt
        asks = setting != "split" or prompt == "aware"
        examples = examples_of(task, texts, questions, need_questions=asks)
        read, cut = sender_texts(task, self.sender.lm, examples, prompt, spec.max_tokens, setting)
        return self.pack(self.soft_tokens_of(read), cut)

    def sender_texts(self, task: Task, examples: Sequence[Example]) -> tuple[list[str], list[bool]]:
        """Return the sender's input text for each example, and whether its context was cut."""
        spec, lm = self.spec, self.sender.lm
        return sender_texts(task, lm, examples, spec.sender_prompt, spec.max_tokens, spec.setting)

    def soft_tokens_of(self, texts: Sequence[str]) -> Float[Tensor, "b k dr"]:
        """Return the soft tokens of sender texts, computed in batches of similar length."""
        places: list[int] = []
        parts = []
        for index, states in self.sender.encode_batches(texts, self.spec.layers):
            places += index
            parts.append(self.soft_tokens(states))
        if not parts:
            return self.bridge.anchors.new_zeros(0, *self.bridge.anchors.shape)
        order = torch.tensor(places).argsort()
        return torch.cat(parts)[order.to(parts[0].device)]

    @torch.inference_mode()
    def soft_tokens(self, states: SenderStates) -> Float[Tensor, "b k dr"]:
        """Return soft tokens for sender states, float32, on the bridge's device."""
        device = self.bridge.anchors.device
        run = self.compiled or self.bridge
        return run(states.states.to(device), states.mask.to(device))

    def pack(
        self, soft: Float[Tensor, "b k dr"], truncated: Sequence[bool | None] | None = None
    ) -> list[Message]:
        """Round soft tokens by the wire's codec and address them to its receiver.

        Args:
            soft: Soft tokens, float32.
            truncated: Whether each text was cut, if known.
        Raises: MessageError: If a number does not fit into the codec, or the wire has no basis.
        """
        contract, codec = self.contract, find_codec(self.spec.codec)
        basis = need_basis(codec.name, contract.basis) if codec.needs_basis else None
        bridge, sender, receiver = self.fingerprint, str(contract.sender), str(contract.receiver)
        messages = []
        rows = soft.detach().to("cpu", torch.float32)
        for row, cut in zip(rows, truncated or [None] * len(rows), strict=True):
            numbers = basis.shrink(row) if basis else row
            numbers = torch.from_numpy(codec.round(np.ascontiguousarray(numbers.numpy())))
            row = basis.expand(numbers) if basis else numbers
            messages.append(Message(row, bridge, codec.name, sender, receiver, basis, cut))
        return messages

    @property
    def fingerprint(self) -> str:
        """16 hex digits that identify the bridge's weights; messages carry them."""
        versions = tuple(value._version for value in self.bridge.state_dict().values())
        if self._versions != versions:  # hashing costs milliseconds
            self.contract.fingerprint = bridge_fingerprint(self.bridge)
            self._versions = versions
        return self.contract.fingerprint

    def compile(self, *, mode: str | None = "reduce-overhead", **options: Any) -> None:
        """Compile the bridge with torch.compile.

        A GPU then runs the bridge as one CUDA graph. Each new batch size or text length triggers a
        compilation, so this pays off when many texts are encoded. Soft tokens differ by rounding
        at most. Requires Triton on a GPU, or a C++ compiler on a CPU.

        Args:
            mode: Mode of torch.compile; `reduce-overhead` uses CUDA graphs.
            options: Further options of torch.compile, such as `backend`.
        """
        self.compiled = CompiledBridge(self.bridge, mode=mode, **options)

    def fit_lowrank(
        self, states: SenderStates | Iterable[SenderStates], rank: int | None = None
    ) -> Basis:
        """Fit the basis of `lowrank` messages. It is saved with the wire.

        Args:
            states: Sender states of a few hundred training texts, in one or several batches.
            rank: Coordinates per soft token, 1..dr; by default min(128, dr). A higher rank means
                longer messages and a smaller error.
        Raises: UsageError: If the rank is out of range, or there are fewer than two texts.
        """
        batches = [states] if isinstance(states, SenderStates) else states
        soft = torch.cat([self.soft_tokens(batch).cpu() for batch in batches])
        self.basis = fit_basis(soft, min(DEFAULT_RANK, soft.shape[-1]) if rank is None else rank)
        return self.basis


class CachingSender(Sender):
    """Sender that keeps the hidden states of texts for several encoders.

    Args:
        lm: Sending model.
        layers: Layers that any of the encoders reads, ascending.
    """

    def __init__(self, lm: LanguageModel, layers: Sequence[int]) -> None:
        super().__init__(lm)
        self._layers = tuple(layers)
        self._known: dict[tuple[str, ...], list[tuple[list[int], SenderStates]]] = {}

    def encode_batches(self, texts: Sequence[str], layers: Sequence[int], *, batch_size: int = 16):  # type: ignore[no-untyped-def]
        """As `Sender.encode_batches`, but compute the states of equal texts once."""
        key = tuple(texts)  # encoders may cut texts differently
        if key not in self._known:
            batches = super().encode_batches(texts, self._layers, batch_size=batch_size)
            self._known[key] = list(batches)
        places = [self._layers.index(layer) for layer in layers]
        for index, states in self._known[key]:
            yield index, SenderStates(states.states[:, places], states.mask)


class HasEncoder(Protocol):
    """Object with an encoder, such as a `Wire`."""

    @property
    def encoder(self) -> Encoder:
        """Sending half."""


def send_to_all(
    wires: Sequence[Encoder | HasEncoder],
    texts: Sequence[str],
    questions: Sequence[str] | None = None,
) -> list[list[Message]]:
    """Encode texts for several receivers; the sender reads each text once.

    ```python
    to_gemma, to_qwen = Encoder.from_pretrained("runs/gemma"), ...  # same sender, two bridges
    for messages in send_to_all([to_gemma, to_qwen], texts): ...
    ```

    Args:
        wires: Trained wires or encoders with the same sender, possibly reading different layers.
        texts: Texts that the sender reads.
        questions: One question per text, for tasks whose items have one.
    Returns: The messages of each wire, in the order of the texts.
    Raises:
        MessageError: As `Encoder.encode` does.
        UsageError: As `Encoder.encode` does; also if the senders differ.
    """
    encoders = [each if isinstance(each, Encoder) else each.encoder for each in wires]
    senders = {each.sender.lm.fingerprint: each.sender for each in encoders}
    if len(senders) != 1:
        raise UsageError(
            f"send_to_all needs wires with the same sender; given: {len(senders)} senders, "
            f"{', '.join(each.lm.name for each in senders.values()) or 'none'}."
        )
    layers = sorted({layer for each in encoders for layer in each.spec.layers})
    sender = CachingSender(encoders[0].sender.lm, layers)
    sent = []
    for encoder in map(copy, encoders):
        encoder.sender = sender
        sent.append(encoder.encode(texts, questions))
    return sent
