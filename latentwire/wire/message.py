"""A message: the soft tokens of one text as bytes, with a header that says whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.core.errors import MessageError
from latentwire.wire.basis import Basis
from latentwire.wire.codecs import CODECS, DTYPES, Numbers, check_codec
from latentwire.wire.header import LIMITS, Header, Limits, header_of, read_header


@dataclass(frozen=True)
class Message:
    """Soft tokens on their way from a sender to a receiver.

    Args:
        soft: Soft tokens, (k, dr).
        bridge: Fingerprint of the bridge that made them; several are joined by `+`.
        codec: How the numbers are written, one of `CODECS`.
        sender: The model that read, `name@fingerprint`.
        receiver: The model they are for, likewise.
        basis: What `lowrank` expands them by.
    """

    soft: Float[Tensor, "k dr"]
    bridge: str
    codec: str = "fp16"
    sender: str = ""
    receiver: str = ""
    basis: Basis | None = None

    def to_bytes(self) -> bytes:
        """The message as a safetensors file.

        Raises: MessageError: If the codec is unknown or lacks its basis, a number does not fit
            into it, or a name cannot stand in a header.
        """
        codec = check_codec(self.codec)
        soft = self.soft.detach().to("cpu", torch.float32)
        if soft.dim() != 2 or not soft.numel():
            raise MessageError(
                f"A message has soft tokens (k, dr), at least one; these are {tuple(soft.shape)}."
            )
        k, width = soft.shape
        basis = self.basis if codec.needs_basis else None
        if basis is not None:
            soft = basis.shrink(soft)
        elif codec.needs_basis:
            raise _no_basis(codec.name)
        header = header_of(
            self.bridge,
            self.sender,
            self.receiver,
            codec.name,
            k,
            width,
            basis.rank if basis else 0,
            basis.fingerprint if basis else "",
        )
        arrays = codec.write(np.ascontiguousarray(soft.numpy()))
        return header.sealed(b"".join(array.tobytes() for array in arrays))

    @classmethod
    def from_bytes(
        cls, data: bytes, *, basis: Basis | None = None, limits: Limits = LIMITS
    ) -> Message:
        """Read a message. `Wire.read` also looks whether it is for that wire.

        Args:
            data: What `to_bytes` gave, or anything else.
            basis: What a `lowrank` message is expanded by.
            limits: What is accepted.
        Raises: MessageError: If the bytes are not a message, before any tensor is made.
        """
        return cls.from_parts(*read_header(data, limits), basis)

    @classmethod
    def from_parts(cls, header: Header, payload: memoryview, basis: Basis | None) -> Message:
        """The same when the header was read already."""
        numbers = torch.from_numpy(_numbers(header, payload, basis))
        # What was expanded keeps its basis, and can be written again.
        used = basis if header.rank else None
        soft = used.expand(numbers) if used else numbers
        return cls(soft, header.bridge, header.codec, header.sender, header.receiver, used)

    @classmethod
    def join(cls, messages: Sequence[Message]) -> Message:
        """Several messages as one that the receiver reads in their order, written in fp32.

        Args:
            messages: For the same receiver, from any senders, at least one.
        Raises: MessageError: If there are none, or their receivers or widths differ.
        """
        if not messages:
            raise MessageError("There is no message to join: give at least one.")
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


def _numbers(header: Header, payload: memoryview, basis: Basis | None) -> Numbers:
    """What the tensors of a message say: soft tokens, or their coordinates."""
    if header.rank:
        if basis is None:
            raise _no_basis(header.codec)
        if (basis.fingerprint, *basis.mean.shape, basis.rank) != (
            header.basis,
            header.n_tokens,
            header.width,
            header.rank,
        ):
            raise MessageError(
                f"The message was written in basis {header.basis} of rank {header.rank}; this one "
                f"is {basis.fingerprint} of rank {basis.rank}. Use the same bridge folder on both "
                "sides."
            )
    arrays, start = [], 0
    for part in header.parts:
        end = start + part.n_bytes
        arrays.append(np.frombuffer(payload[start:end], DTYPES[part.dtype]).reshape(part.shape))
        start = end
    return CODECS[header.codec].read(arrays, header.rank or header.width)


def _no_basis(codec: str) -> MessageError:
    return MessageError(
        f"The codec {codec} needs a basis that the wire has not got: fit one with "
        "Wire.fit_lowrank, or read the message with the wire that has it (Wire.read)."
    )
