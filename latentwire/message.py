"""A message: the soft tokens of one text as bytes, with a header that says whose they are."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from latentwire.errors import MessageError

_VERSION = "1"
ENCODINGS = {"fp32": torch.float32, "fp16": torch.float16}


@dataclass(frozen=True)
class Message:
    """Soft tokens on their way from a sender to a receiver.

    Args:
        soft: Soft tokens, (k, dr).
        bridge: Fingerprint of the bridge that made them.
        encoding: How the numbers are written: `fp32` or `fp16`.
    """

    soft: Float[Tensor, "k dr"]
    bridge: str
    encoding: str = "fp16"

    def to_bytes(self) -> bytes:
        """The message as a safetensors file. Raises: MessageError: If a value is not finite."""
        kind = ENCODINGS.get(self.encoding)
        if kind is None:
            raise MessageError(
                f"Unknown encoding '{self.encoding}'. Known: {', '.join(ENCODINGS)}."
            )
        values = self.soft.detach().to("cpu", kind).contiguous()
        if not bool(values.isfinite().all()):
            raise MessageError(f"The soft tokens do not fit into {self.encoding}: not finite.")
        header = {"latentwire": _VERSION, "bridge": self.bridge, "encoding": self.encoding}
        return save({"soft": values}, header)

    @classmethod
    def from_bytes(cls, data: bytes) -> Message:
        """Read a message. Raises: MessageError: If the bytes are not one."""
        header = _header(data)
        version = header.get("latentwire")
        if version != _VERSION:
            raise MessageError(
                f"Not a LatentWire message of version {_VERSION}: its header says {version!r}."
            )
        try:
            tensors = load(data)
        except (SafetensorError, ValueError) as error:
            raise MessageError(f"The message is damaged: {error}") from error
        soft = tensors.get("soft")
        if soft is None or soft.dim() != 2 or not bool(soft.isfinite().all()):
            raise MessageError("The message has no finite soft tokens of shape (k, dr).")
        return cls(soft.float(), header.get("bridge", ""), header.get("encoding", ""))


def _header(data: bytes) -> dict[str, Any]:
    """The string metadata of safetensors bytes, read without touching a tensor."""
    try:
        (length,) = struct.unpack_from("<Q", data)
        if length > min(len(data) - 8, 1 << 16):
            raise MessageError("The message is damaged: its header is longer than the message.")
        header = json.loads(data[8 : 8 + length])
        return dict(header["__metadata__"])
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise MessageError("The bytes are not a LatentWire message.") from error
