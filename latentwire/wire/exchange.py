"""Messages of wires: whose they are, which may be read, and one reading for many receivers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.core.errors import MessageError, UsageError
from latentwire.data import Example
from latentwire.data.metrics import Response
from latentwire.models import LanguageModel, SenderStates
from latentwire.wire.header import Header, read_header
from latentwire.wire.message import Message

if TYPE_CHECKING:
    from latentwire.wire.wire import Wire


def write_messages(wire: Wire, soft: Float[Tensor, "b k dr"]) -> list[Message]:
    """Soft tokens as messages of a wire."""
    sender, receiver = identify(wire.sender.lm), identify(wire.receiver.lm)
    bridge = wire.fingerprint
    return [
        Message(row, bridge, wire.spec.codec, sender, receiver, wire.basis)
        for row in soft.detach().to("cpu", torch.float32)  # one transfer for all
    ]


def check_message(wire: Wire, made: Header | Message, known: Collection[str]) -> None:
    """Look whether a message was made for a wire's receiver by a bridge that it takes.

    Args:
        wire: The reading wire.
        made: The message, or only its header.
        known: Fingerprints of the bridges that are taken, its own among them.
    Raises: MessageError: If it was not.
    """
    if strange := [name for name in made.bridge.split("+") if name not in known]:
        raise MessageError(
            f"The message was made by bridge {strange[0]}, this wire has {wire.fingerprint}: its "
            "soft tokens mean nothing here. Load the same bridge on both sides, or name it in "
            "`bridges` if it was trained for this receiver."
        )
    lm, width = wire.receiver.lm, wire.receiver.soft_width
    if made.receiver and made.receiver.rpartition("@")[2] != lm.fingerprint:
        raise MessageError(
            f"The message is for the receiver {made.receiver}; this wire's is {identify(lm)}."
        )
    given = made.width if isinstance(made, Header) else made.soft.shape[-1]
    if given != width:
        raise MessageError(
            f"The message's soft tokens have width {given}; {identify(lm)} reads {width}."
        )


def read_messages(wire: Wire, datas: Sequence[bytes], bridges: Collection[str]) -> list[Message]:
    """Messages from bytes, each looked at before a tensor is made; see `Wire.read`."""
    known, messages = {wire.fingerprint, *bridges}, []
    for data in datas:
        header, payload = read_header(data, wire.limits)
        check_message(wire, header, known)
        messages.append(Message.from_parts(header, payload, wire.basis))
    return messages


def read_by_sender(wire: Wire, texts: Sequence[str]) -> Float[Tensor, "b k dr"]:
    """Soft tokens of texts: batches of like length, one at a time; `Wire.soft_tokens_of`."""
    places: list[int] = []
    parts = []
    for index, states in wire.sender.encode_batches(texts, wire.spec.layers):
        places += index
        parts.append(wire.soft_tokens(states))
    if not parts:
        return wire.bridge.anchors.new_zeros(0, *wire.bridge.anchors.shape)
    order = torch.tensor(places).argsort()
    return torch.cat(parts)[order.to(parts[0].device)]


def send_examples(wire: Wire, examples: Sequence[Example]) -> tuple[list[Message], list[bool]]:
    """The message of each example, as it comes off the wire, and whether its text was cut."""
    read, cut = wire.sender_texts(wire.need_task(), examples)
    # Through bytes, so that a message that never leaves the machine is rounded all the same.
    packed = wire.pack(wire.soft_tokens_of(read))
    return wire.read_all([message.to_bytes() for message in packed]), cut


def receive_messages(
    wire: Wire,
    messages: Sequence[Message],
    examples: Sequence[Example],
    bridges: Collection[str] = (),
) -> list[Response]:
    """What a wire's receiver answers to each message, asked what its example asks."""
    task = wire.need_task()
    if not messages:
        return []
    known = {wire.fingerprint, *bridges}
    for message in messages:
        check_message(wire, message, known)
    soft = stacked(messages).to(wire.receiver.lm.device)
    return wire.respond(task, examples, soft, ranking_only=True)


def stream_answer(wire: Wire, examples: Sequence[Example]) -> Iterator[str]:
    """What a wire's receiver writes for one example, in pieces; see `Wire.stream`."""
    task = wire.need_task()
    soft = stacked(send_examples(wire, examples)[0]).to(wire.receiver.lm.device)
    prompt = wire.prompt_builder(task).build_handoff(examples[0])[0].prompt
    length = task.max_new_tokens
    return wire.receiver.stream_text(prompt, soft, max_new_tokens=length, stop=task.stop)


def stacked(messages: Sequence[Message]) -> Float[Tensor, "b k dr"]:
    """Soft tokens of messages. Raises: MessageError: If they are not equally long."""
    if len(sizes := sorted({tuple(message.soft.shape) for message in messages})) > 1:
        raise MessageError(
            f"Messages of one call are equally long; these have the shapes "
            f"{', '.join(map(str, sizes))}. Receive them in several calls."
        )
    return torch.stack([message.soft for message in messages])


def send_to_all(
    wires: Sequence[Wire], texts: Sequence[str], questions: Sequence[str] | None = None
) -> list[list[Message]]:
    """Messages of the same texts for several receivers; the sender reads each text once.

    Args:
        wires: From one sender, each trained on its task; they may read different layers.
        texts: What the sender reads.
        questions: One for each text, for tasks whose items have a question of their own.
    Returns: For each wire its messages, in the order of the texts.
    Raises:
        MessageError: As in `Wire.send`.
        UsageError: As there; also if the senders differ.
    """
    senders = {wire.sender.lm.fingerprint: wire.sender for wire in wires}
    if len(senders) != 1:
        raise UsageError(
            f"send_to_all wants wires from one sender; it was given {len(senders)}: "
            f"{', '.join(each.lm.name for each in senders.values()) or 'none'}."
        )
    sender = wires[0].sender
    if not texts:
        return [wire.send([]) for wire in wires]
    layers = tuple(sorted({layer for wire in wires for layer in wire.spec.layers}))
    known: dict[tuple[str, ...], SenderStates] = {}  # wires may cut or ask differently
    sent = []
    for wire in wires:
        examples = wire.examples(texts, questions)
        read = tuple(wire.sender_texts(wire.need_task(), examples)[0])
        if read not in known:
            known[read] = sender.encode(read, layers)
        states, places = known[read], [layers.index(layer) for layer in wire.spec.layers]
        soft = wire.soft_tokens(SenderStates(states.states[:, places], states.mask))
        sent.append(wire.read_all([message.to_bytes() for message in wire.pack(soft)]))
    return sent


def identify(lm: LanguageModel) -> str:
    """`name@fingerprint`, without the folders that a local model lies in."""
    name = lm.name if lm.name.count("/") == 1 else re.split(r"[/\\]", lm.name)[-1]
    return f"{re.sub('[^a-zA-Z0-9._/-]', '-', name)[-96:]}@{lm.fingerprint}"
