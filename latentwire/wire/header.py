"""The header of a message, parsed on the assumption that an attacker wrote it.

A message is a safetensors file: eight bytes of length, a JSON header, the tensors. The reader
takes the few facts it needs from the header, writes the header anew from them and compares the two
byte for byte. Duplicate keys, overlapping offsets, unknown dtypes, extra tensors or another
spelling all make a difference, so that no attack has to be handled on its own.

All messages of a bridge have the same header, except for the checksum. The last headers that were
accepted are therefore cached, with the limits they were accepted under, and the next message costs
one look-up. Size and checksum of the message itself are always verified. Rejected headers are not
cached.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NoReturn

from latentwire.core.errors import MessageError
from latentwire.wire.codecs import TensorSpec, find_codec

VERSION = "2"
_MAX_HEADER_BYTES = 4096
_COUNT = re.compile("[1-9][0-9]{0,8}")
_TEXT = re.compile(r"[!#-\[\]-~]{0,512}")  # printable, and not escaped in JSON
_SUM = re.compile("[0-9a-f]{8}")
_NO_SUM = "00000000"
_SUM_IN_HEADER = re.compile(rb'"checksum":"([0-9a-f]{8})"')
_N_CACHED = 128  # headers, of at most 4 KB each


@dataclass(frozen=True)
class Limits:
    """Largest sizes that a reader accepts. The defaults fit a deep prefix of a 70B model.

    Args:
        max_bytes: Largest size in bytes, of a message and of its soft tokens in float32.
        max_tokens: Largest number of soft tokens.
        max_width: Largest width of a soft token.
    """

    max_bytes: int = 1 << 27
    max_tokens: int = 4096
    max_width: int = 1 << 20


LIMITS = Limits()


@dataclass(frozen=True)
class Header:
    """Origin of a message, and how its numbers are written.

    Args:
        bridge: Fingerprint of the bridge that made the message.
        sender: Sending model, `name@fingerprint`.
        receiver: Receiving model, `name@fingerprint`.
        codec: Name of the codec.
        n_tokens: Number k of soft tokens.
        width: Size dr of each soft token.
        rank: Number of coordinates per soft token if the codec needs a basis, else 0.
        basis: Fingerprint of that basis, else empty.
    """

    bridge: str
    sender: str
    receiver: str
    codec: str
    n_tokens: int
    width: int
    rank: int = 0
    basis: str = ""

    @cached_property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """Tensors that follow the header, in order."""
        return find_codec(self.codec).layout(self.n_tokens, self.rank or self.width)

    @cached_property
    def n_payload_bytes(self) -> int:
        """Size of all tensors."""
        return sum(tensor.n_bytes for tensor in self.tensors)

    @cached_property
    def n_message_bytes(self) -> int:
        """Size of the whole message: header and tensors."""
        return sum(map(len, self._around_checksum)) + len(_NO_SUM) + self.n_payload_bytes

    def to_bytes(self, checksum: str) -> bytes:
        """Return length and JSON, padded with spaces to a multiple of eight bytes."""
        before, after = self._around_checksum
        return before + checksum.encode() + after

    @cached_property
    def _around_checksum(self) -> tuple[bytes, bytes]:
        for what in ("bridge", "sender", "receiver", "basis"):
            if not _TEXT.fullmatch(text := getattr(self, what)):
                raise MessageError(
                    f"The {what} {text[:80]!a} cannot stand in a header: at most 512 printable "
                    "ASCII characters are allowed, without spaces, quotes and backslashes."
                )
        facts = {
            "latentwire": VERSION,
            "bridge": self.bridge,
            "sender": self.sender,
            "receiver": self.receiver,
            "encoding": self.codec,
            "n_tokens": self.n_tokens,
            "width": self.width,
        }
        if self.rank:
            facts |= {"rank": self.rank, "basis": self.basis}
        # Formatted by hand, which is much faster: no fact has a character that JSON escapes.
        metadata = "".join(f'"{key}":"{value}",' for key, value in facts.items())
        before = f'{{"__metadata__":{{{metadata}"checksum":"'
        after, start = '"}', 0
        for tensor in self.tensors:
            end = start + tensor.n_bytes
            shape = ",".join(map(str, tensor.shape))
            after += f',"{tensor.name}":{{"dtype":"{tensor.dtype}","shape":[{shape}],'
            after += f'"data_offsets":[{start},{end}]}}'
            start = end
        after += "}"
        length = len(before) + len(_NO_SUM) + len(after)
        after += " " * (-length % 8)
        return struct.pack("<Q", length + -length % 8) + before.encode(), after.encode()

    def sealed(self, payload: bytes) -> bytes:
        """Return the whole message. Raises: MessageError: If a fact cannot stand in a header."""
        return self.to_bytes(self.checksum(payload)) + payload

    def checksum(self, payload: bytes | memoryview) -> str:
        """Return the CRC-32 of header and tensors. It detects accidents, not forgery."""
        return f"{zlib.crc32(payload, zlib.crc32(self.to_bytes(_NO_SUM))):08x}"


header_of = lru_cache(_N_CACHED)(Header)
"""Return the header with these fields, in their order; messages of one bridge share it."""


def read_header(data: bytes, limits: Limits = LIMITS) -> tuple[Header, memoryview]:
    """Check a message and return its header and the bytes of its tensors, without copying them.

    Args:
        data: Bytes of a message.
        limits: Largest sizes that are accepted.
    Raises: MessageError: If the bytes are not a complete message within the limits.
    """
    if len(data) > limits.max_bytes:
        raise MessageError(
            f"The message has {len(data):,} bytes; at most {limits.max_bytes:,} are accepted. "
            "Raise Limits.max_bytes if you trust its sender."
        )
    end = _end(data)
    head, checksum = bytes(data[:end]), ""
    if found := _SUM_IN_HEADER.search(head):
        checksum = found[1].decode()
        head = head[: found.start(1)] + _NO_SUM.encode() + head[found.end(1) :]
    header = _checked(head, limits)
    payload = memoryview(data)[end:]
    if len(payload) != header.n_payload_bytes:
        what = "cut short" if len(payload) < header.n_payload_bytes else "too long"
        raise MessageError(
            f"The message is {what}: {header.n_payload_bytes:,} bytes should follow its header, "
            f"{len(payload):,} do."
        )
    if header.checksum(payload) != checksum:
        raise MessageError("The message is damaged: its checksum is wrong. Send it again.")
    return header, payload


@lru_cache(_N_CACHED)
def _checked(head: bytes, limits: Limits) -> Header:
    """Parse header bytes whose checksum was replaced by zeros. Accepted headers are cached.

    Raises: MessageError: If the bytes differ from the header written anew from their facts.
    """
    found = _json(head)
    facts = _facts(found)
    header = _header(facts, limits)
    if header.to_bytes(_NO_SUM) != head:
        _explain(header, found)
    return header


def _end(data: bytes) -> int:
    """Offset of the end of the header."""
    if len(data) < 8:
        raise MessageError(f"The bytes are not a LatentWire message: there are only {len(data)}.")
    (length,) = struct.unpack_from("<Q", data)
    if length > min(len(data) - 8, _MAX_HEADER_BYTES):
        raise MessageError(
            "The bytes are not a complete LatentWire message: they begin with a header of "
            f"{length:,} bytes, but {len(data) - 8:,} follow, and a header has at most "
            f"{_MAX_HEADER_BYTES:,}."
        )
    return int(8 + length)


def _json(head: bytes) -> dict[str, Any]:
    """Parse the JSON of a header."""
    try:
        found = json.loads(head[8:].decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise MessageError(
            "The bytes are not a LatentWire message: the header is not JSON."
        ) from error
    if not isinstance(found, dict):
        raise MessageError(
            "The bytes are not a LatentWire message: the header is not a JSON object."
        )
    return found


def _facts(found: dict[str, Any]) -> dict[str, str]:
    """Return the metadata of a message of this version."""
    facts = found.get("__metadata__")
    if not isinstance(facts, dict) or "latentwire" not in facts:
        raise MessageError(
            "The bytes are not a LatentWire message: its header has no LatentWire metadata."
        )
    if facts["latentwire"] != VERSION:
        raise MessageError(
            f"The message has format version {_shown(facts['latentwire'])}; this LatentWire reads "
            f"version {VERSION}. Use the same release on both sides."
        )
    for key in ("bridge", "sender", "receiver", "encoding", "n_tokens", "width", "checksum"):
        if not isinstance(facts.get(key), str):
            raise MessageError(f"The message does not state its {key}.")
    return facts


def _header(facts: dict[str, str], limits: Limits) -> Header:
    codec = find_codec(facts["encoding"][:40])
    k = _count(facts, "n_tokens", limits.max_tokens)
    width = _count(facts, "width", limits.max_width)
    if 4 * k * width > limits.max_bytes:
        raise MessageError(
            f"The message states {k:,} soft tokens of width {width:,}: {4 * k * width:,} bytes as "
            f"float32; at most {limits.max_bytes:,} are allowed (Limits.max_bytes)."
        )
    rank = _count(facts, "rank", width) if codec.needs_basis else 0
    basis = facts.get("basis", "") if rank else ""
    header = Header(
        facts["bridge"], facts["sender"], facts["receiver"], codec.name, k, width, rank, basis
    )
    for key in ("bridge", "sender", "receiver", "basis"):
        if not isinstance(text := getattr(header, key), str) or not _TEXT.fullmatch(text):
            raise MessageError(f"The message's {key} is not a fingerprint or name: {_shown(text)}.")
    if not _SUM.fullmatch(facts["checksum"]):
        raise MessageError(
            f"{_shown(facts['checksum'])} is not a checksum of 8 hexadecimal digits."
        )
    return header


def _count(facts: dict[str, str], what: str, most: int) -> int:
    text = facts.get(what)
    if not isinstance(text, str) or not _COUNT.fullmatch(text) or int(text) > most:
        raise MessageError(f"The message's {what} is {_shown(text)}; 1 to {most:,} are allowed.")
    return int(text)


def _explain(header: Header, found: dict[str, Any]) -> NoReturn:
    """Raise an error that names the difference between a header and the one written anew."""
    start = 0
    for tensor in header.tensors:
        end = start + tensor.n_bytes
        expected = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
        if found.get(tensor.name) != expected:
            raise MessageError(
                f"The message's tensor '{tensor.name}' should be {expected}; its header states "
                f"{_shown(found.get(tensor.name))}."
            )
        start = end
    known = {"__metadata__", *(tensor.name for tensor in header.tensors)}
    if extra := sorted(set(found) - known):
        raise MessageError(f"The message has unexpected tensors: {_shown(extra)}.")
    raise MessageError(
        "The message's header is not written the way LatentWire writes it: the order, spaces, an "
        "extra fact or a duplicate key differ."
    )


def _shown(value: object) -> str:
    """Return untrusted data for an error message: short and safe to print."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."
