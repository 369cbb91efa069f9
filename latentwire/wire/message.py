"""Messages: the soft tokens of one text, and a header that identifies the pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.core.errors import MessageError
from latentwire.wire.basis import Basis
from latentwire.wire.codecs import DTYPES, Numbers, find_codec
from latentwire.wire.header import LIMITS, Header, Limits, header_of, read_header


@dataclass(frozen=True)
class Message:
    """Soft tokens from a sender for a receiver.

    Args:
        soft: Soft tokens, (k, dr).
        bridge: Fingerprint of the bridge that made them; several, joined by `+`, after `join`.
        codec: Name of the codec, see `CODECS`.
        sender: Model that read the text, `name@fingerprint`.
        receiver: Model that the soft tokens are for, `name@fingerprint`.
        basis: Basis of a codec that writes coordinates, such as `lowrank`.
        truncated: Whether the text was truncated for the sender. Not serialized: None in messages
            read from bytes.
    """

    soft: Float[Tensor, "k dr"]
    bridge: str
    codec: str = "fp16"
    sender: str = ""
    receiver: str = ""
    basis: Basis | None = None
    truncated: bool | None = field(default=None, compare=False)

    @property
    def header(self) -> Header:
        """Header of the message.

        Raises: MessageError: If the codec is unknown, its basis is missing, or there are no soft
            tokens.
        """
        codec = find_codec(self.codec)
        if self.soft.dim() != 2 or not self.soft.numel():
            raise MessageError(
                "Soft tokens of a message must be non-empty, (k, dr); these have shape "
                f"{tuple(self.soft.shape)}."
            )
        basis = None
        if codec.needs_basis:
            basis = need_basis(codec.name, self.basis)
        k, width = self.soft.shape
        return header_of(
            self.bridge,
            self.sender,
            self.receiver,
            codec.name,
            k,
            width,
            basis.rank if basis else 0,
            basis.fingerprint if basis else "",
        )

    @property
    def n_bytes(self) -> int:
        """Size of `to_bytes()`, computed from the header. Raises: MessageError: As `to_bytes`."""
        return self.header.n_message_bytes

    def to_bytes(self) -> bytes:
        """Serialize the message as a safetensors file.

        Raises: MessageError: If the codec is unknown, its basis is missing, it cannot represent a
            number, or a name is not allowed in a header.
        """
        header, soft = self.header, self.soft.detach().to("cpu", torch.float32)
        if header.rank:
            soft = need_basis(self.codec, self.basis).shrink(soft)
        arrays = find_codec(self.codec).write(np.ascontiguousarray(soft.numpy()))
        return header.seal(b"".join(array.tobytes() for array in arrays))

    @classmethod
    def from_bytes(
        cls, data: bytes, *, basis: Basis | None = None, limits: Limits = LIMITS
    ) -> Message:
        """Read a message. `Decoder.read` also checks that it is for that decoder.

        Args:
            data: Bytes of a message; may be untrusted.
            basis: Basis to decode `lowrank` messages.
            limits: Maximum accepted sizes.
        Raises: MessageError: If the bytes are not a message; raised before tensors are created.
        """
        return cls.from_payload(*read_header(data, limits), basis)

    @classmethod
    def from_payload(cls, header: Header, payload: memoryview, basis: Basis | None) -> Message:
        """Read the tensors of a message whose header has been checked."""
        numbers = torch.from_numpy(_numbers(header, payload, basis))
        # An expanded message keeps its basis and can be written again.
        used = basis if header.rank else None
        soft = used.expand(numbers) if used else numbers
        return cls(soft, header.bridge, header.codec, header.sender, header.receiver, used)

    @classmethod
    def join(cls, messages: Sequence[Message]) -> Message:
        """Concatenate messages into one, to be written in fp32.

        Args:
            messages: Messages for the same receiver, at least one; senders may differ.
        Raises: MessageError: If there are none, or their receivers or widths differ.
        """
        if not messages:
            raise MessageError("Give at least one message to join.")
        for what, each in (
            ("receivers", [message.receiver for message in messages]),
            ("widths", [message.soft.shape[-1] for message in messages]),
        ):
            if len(found := dict.fromkeys(each)) > 1:
                raise MessageError(
                    f"Only messages for one receiver can be joined; these have the {what} "
                    f"{', '.join(map(str, found))}."
                )
        return cls(
            torch.cat([message.soft for message in messages]),
            "+".join(dict.fromkeys(message.bridge for message in messages)),
            "fp32",
            "+".join(dict.fromkeys(message.sender for message in messages)),
            messages[0].receiver,
        )


def need_basis(codec: str, basis: Basis | None) -> Basis:
    """Return the basis. Raises: MessageError: If it is None."""
    if basis is None:
        raise MessageError(
            f"The codec {codec} needs a low-rank basis: fit one with Wire.fit_lowrank, or read the "
            "message with the wire that wrote it (Wire.read)."
        )
    return basis


def _numbers(header: Header, payload: memoryview, basis: Basis | None) -> Numbers:
    """Decode the tensors of a message to soft tokens, or to their coordinates."""
    if header.rank:
        basis = need_basis(header.codec, basis)
        if (basis.fingerprint, *basis.mean.shape, basis.rank) != (
            header.basis,
            header.n_tokens,
            header.width,
            header.rank,
        ):
            raise MessageError(
                f"The message uses basis {header.basis} of rank {header.rank}; this wire has basis "
                f"{basis.fingerprint} of rank {basis.rank}. Use the same bridge folder on both "
                "sides."
            )
    arrays, start = [], 0
    for tensor in header.tensors:
        end = start + tensor.n_bytes
        array = np.frombuffer(payload[start:end], DTYPES[tensor.dtype])
        arrays.append(array.reshape(tensor.shape))
        start = end
    return find_codec(header.codec).read(arrays, header.rank or header.width)
