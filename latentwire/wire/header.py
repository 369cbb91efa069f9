"""Message headers, and a parser that treats them as untrusted.

A message is a safetensors file: eight bytes of length, a JSON header, the tensors. The reader
extracts the fields it needs, rebuilds the header from them and compares the two byte for byte.
Duplicate keys, overlapping offsets, unknown dtypes, extra tensors and unusual spelling all cause a
difference, so none of them needs a check of its own.

All messages of a bridge have the same header, except for the checksum. Accepted headers are
therefore cached together with the limits. Size and checksum of a message are always verified.
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
    """Maximum sizes that a reader accepts. The defaults allow deep prefixes of a 70B model.

    Args:
        max_bytes: Maximum size in bytes of a message, and of its soft tokens in float32.
        max_tokens: Maximum number of soft tokens.
        max_width: Maximum width of a soft token.
    """

    max_bytes: int = 1 << 27
    max_tokens: int = 4096
    max_width: int = 1 << 20


LIMITS = Limits()


@dataclass(frozen=True)
class Header:
    """Origin, codec and sizes of a message.

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
        """Size of all tensors in bytes."""
        return sum(tensor.n_bytes for tensor in self.tensors)

    @cached_property
    def n_message_bytes(self) -> int:
        """Size of the whole message in bytes."""
        return sum(map(len, self._around_checksum)) + len(_NO_SUM) + self.n_payload_bytes

    def to_bytes(self, checksum: str) -> bytes:
        """Return length and JSON, padded with spaces to a multiple of 8 bytes."""
        before, after = self._around_checksum
        return before + checksum.encode() + after

    @cached_property
    def _around_checksum(self) -> tuple[bytes, bytes]:
        for what in ("bridge", "sender", "receiver", "basis"):
            if not _TEXT.fullmatch(text := getattr(self, what)):
                raise MessageError(
                    f"The {what} {text[:80]!a} is not allowed in a header: use at most 512 "
                    "printable ASCII characters without spaces, quotes and backslashes."
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
        # Faster than json.dumps; no value contains a character that JSON escapes.
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

    def seal(self, payload: bytes) -> bytes:
        """Return the whole message. Raises: MessageError: If a name is not allowed in it."""
        return self.to_bytes(self.checksum(payload)) + payload

    def checksum(self, payload: bytes | memoryview) -> str:
        """Return the CRC-32 of header and tensors, which detects accidental damage only."""
        return f"{zlib.crc32(payload, zlib.crc32(self.to_bytes(_NO_SUM))):08x}"


header_of = lru_cache(_N_CACHED)(Header)
"""Cached constructor of `Header`, since messages of one bridge share a header."""


def read_header(data: bytes, limits: Limits = LIMITS) -> tuple[Header, memoryview]:
    """Check a message and return its header and a view of its tensor bytes.

    Args:
        data: Bytes of a message.
        limits: Maximum accepted sizes.
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
            f"The message is {what}: {header.n_payload_bytes:,} bytes must follow its header; "
            f"found {len(payload):,}."
        )
    if header.checksum(payload) != checksum:
        raise MessageError("The message is damaged: its checksum is wrong. Send it again.")
    return header, payload


@lru_cache(_N_CACHED)
def _checked(head: bytes, limits: Limits) -> Header:
    """Parse header bytes whose checksum was replaced by zeros. Accepted headers are cached.

    Raises: MessageError: If the bytes differ from the header rebuilt from their fields.
    """
    found = _json(head)
    facts = _facts(found)
    header = _header(facts, limits)
    if header.to_bytes(_NO_SUM) != head:
        _explain(header, found)
    return header


def _end(data: bytes) -> int:
    """Return the offset of the end of the header."""
    if len(data) < 8:
        raise MessageError(f"The bytes are not a LatentWire message: there are only {len(data)}.")
    (length,) = struct.unpack_from("<Q", data)
    if length > min(len(data) - 8, _MAX_HEADER_BYTES):
        raise MessageError(
            f"The bytes are not a complete LatentWire message: the header should have {length:,} "
            f"bytes, but {len(data) - 8:,} follow; at most {_MAX_HEADER_BYTES:,} are allowed."
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
            f"The message has format version {_ascii(facts['latentwire'])}; this LatentWire reads "
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
            raise MessageError(f"The message's {key} is not a fingerprint or name: {_ascii(text)}.")
    if not _SUM.fullmatch(facts["checksum"]):
        raise MessageError(
            f"{_ascii(facts['checksum'])} is not a checksum of 8 hexadecimal digits."
        )
    return header


def _count(facts: dict[str, str], what: str, most: int) -> int:
    text = facts.get(what)
    if not isinstance(text, str) or not _COUNT.fullmatch(text) or int(text) > most:
        raise MessageError(f"The message's {what} is {_ascii(text)}; 1 to {most:,} are allowed.")
    return int(text)


def _explain(header: Header, found: dict[str, Any]) -> NoReturn:
    """Raise an error that names the difference between a header and the rebuilt one."""
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
                f"{_ascii(found.get(tensor.name))}."
            )
        start = end
    known = {"__metadata__", *(tensor.name for tensor in header.tensors)}
    if extra := sorted(set(found) - known):
        raise MessageError(f"The message has unexpected tensors: {_ascii(extra)}.")
    raise MessageError(
        "The message's header is not in canonical form: it differs in the order of keys, white "
        "space, an extra field or a duplicate key."
    )


def _ascii(value: object) -> str:
    """Return untrusted data shortened and escaped for an error message."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."
