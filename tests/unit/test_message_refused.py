"""What is no message is refused with a clear MessageError before any tensor is made."""

from __future__ import annotations

import importlib.util
import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from latentwire.core.errors import MessageError
from latentwire.wire.basis import Basis
from latentwire.wire.header import Header, read_header
from latentwire.wire.message import Message

_PATH = Path(__file__).parents[2] / "benchmarks" / "fuzz_messages.py"
_SPEC = importlib.util.spec_from_file_location("fuzz_messages", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
fuzzing = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fuzzing)

GOOD = Message(torch.ones(2, 40), "abc", "int8", "a@1", "b@2").to_bytes()
PLAIN = Message(torch.ones(2, 4), "abc", "fp32").to_bytes()


def _with_header(change: Callable[[dict[str, Any]], object], data: bytes = GOOD) -> bytes:
    """A message with another header; its length and checksum are right again."""
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    resealed = fuzzing.resealed(struct.pack("<Q", len(text)) + text + data[8 + length :])
    assert isinstance(resealed, bytes)
    return resealed


def _facts(**new: Any) -> bytes:
    return _with_header(lambda header: header["__metadata__"].update(new))


def _soft(**new: Any) -> bytes:
    return _with_header(lambda header: header["soft"].update(new))


def _header_text(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _payload(data: bytes, at: int, new: bytes) -> bytes:
    """A message with other bytes at a place of its tensors, and the checksum of those."""
    start = 8 + struct.unpack_from("<Q", data)[0] + at
    resealed = fuzzing.resealed(data[:start] + new + data[start + len(new) :])
    assert isinstance(resealed, bytes)
    return resealed


REFUSED = {
    "nothing": (b"", "there are only 0"),
    "seven bytes": (b"1234567", "there are only 7"),
    "a length beyond the end": (b"\xff" * 64, "18,446,744,073,709,551,615 bytes"),
    "a long header": (_header_text(b" " * 5000), "at most 4,096 are allowed"),
    "a cut header": (GOOD[:20], "not a complete LatentWire message"),
    "no JSON": (_header_text(b"{" * 40), "the header is not JSON"),
    "not ASCII": (_header_text('{"é":1}'.encode()), "the header is not JSON"),
    "deep JSON": (_header_text(b"[" * 4000), "the header is not JSON"),
    "a huge whole number": (_header_text(b"9" * 4096), "not a JSON object"),
    "a list": (_header_text(b"[1]"), "not a JSON object"),
    "another file of tensors": (_header_text(b'{"__metadata__":{}}'), "no LatentWire metadata"),
    "no facts": (_header_text(b'{"__metadata__":7}'), "no LatentWire metadata"),
    "version 1": (_facts(latentwire="1"), "format version '1'; this LatentWire reads version 2"),
    "version 9": (_facts(latentwire="9"), "format version '9'"),
    "a fact is missing": (
        _with_header(lambda h: h["__metadata__"].pop("width")),
        "state its width",
    ),
    "a fact is a number": (_facts(n_tokens=2), "does not state its n_tokens"),
    "an unknown codec": (_facts(encoding="int3"), "Unknown codec 'int3'. Known: bf16"),
    "no tokens": (_facts(n_tokens="0"), "n_tokens is '0'; 1 to 4,096 are allowed"),
    "too many tokens": (_facts(n_tokens="4097"), "n_tokens is '4097'"),
    "an endless number": (_facts(n_tokens="9" * 999), "n_tokens is '999"),
    "other digits": (_facts(width="\u0664\u0660"), "width is '"),
    "too much in all": (_facts(n_tokens="4096", width="1048576"), "17,179,869,184 bytes"),
    "a foreign name": (_facts(sender="a b"), "sender is not a fingerprint or name: 'a b'"),
    "a long name": (_facts(bridge="a" * 600), "bridge is not a fingerprint or name"),
    "no checksum": (_facts(checksum="12"), "'12' is not a checksum"),
    "a rank too many": (_facts(rank="3", basis="x"), "not in canonical form"),
    "more facts": (_facts(more="x"), "not in canonical form"),
    "another dtype": (_soft(dtype="F64"), "tensor 'soft' should be {'dtype': 'I8', 'shape': [2, 4"),
    "another shape": (_soft(shape=[2, 41]), "tensor 'soft' should be"),
    "a huge shape": (_soft(shape=[1 << 62, 1 << 62]), "tensor 'soft' should be"),
    "overlapping offsets": (_soft(data_offsets=[0, 80]), "tensor 'soft' should be"),
    "a float for a size": (_soft(shape=[2.0, 40]), "not in canonical form"),
    "a tensor is missing": (_with_header(lambda h: h.pop("scale")), "header states None"),
    "one tensor more": (
        _with_header(
            lambda h: h.update(more={"dtype": "U8", "shape": [0], "data_offsets": [0, 0]})
        ),
        "unexpected tensors: ['more']",
    ),
    "a doubled key": (
        fuzzing.resealed(
            _header_text(GOOD[8:].split(b"}}")[0].replace(b'"soft"', b'"soft":0,"soft"') + b"}}")
        ),
        "not in canonical form",
    ),
    "another order": (
        _with_header(lambda h: h.update(scale=h.pop("scale"))),
        "not in canonical form",
    ),
    "cut short": (GOOD[:-1], "cut short: 84 bytes must follow its header; found 83"),
    "too long": (GOOD + b"x", "too long: 84 bytes must follow its header; found 85"),
    "a flipped bit": (GOOD[:-1] + bytes([GOOD[-1] ^ 1]), "checksum is wrong. Send it again"),
    "a changed name": (GOOD.replace(b"a@1", b"a@3"), "checksum is wrong"),
    "a scale of zero": (_payload(GOOD, 2, b"\x00\x00"), "zero, negative, NaN or too large"),
    "a negative scale": (_payload(GOOD, 2, b"\x80\xbf"), "zero, negative, NaN or too large"),
    "a scale of NaN": (_payload(GOOD, 2, b"\xc0\x7f"), "zero, negative, NaN or too large"),
    "an infinite scale": (_payload(GOOD, 2, b"\x80\x7f"), "zero, negative, NaN or too large"),
    "a huge scale": (_payload(GOOD, 2, b"\x7f\x7f"), "zero, negative, NaN or too large"),
    "NaN": (_payload(PLAIN, 4, b"\x00\x00\xc0\x7f"), "a number that is not finite"),
    "infinity": (_payload(PLAIN, 4, b"\x00\x00\x80\x7f"), "a number that is not finite"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str) -> None:
    data, words = REFUSED[what]
    with pytest.raises(MessageError) as caught:
        Message.from_bytes(data)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("codec", ["fp16", "bf16"])
def test_half_numbers_that_are_none(codec: str) -> None:
    data = Message(torch.ones(2, 4), "abc", codec).to_bytes()
    for bits in (b"\xff\xff", b"\x00\x7c" if codec == "fp16" else b"\x80\x7f"):
        with pytest.raises(MessageError, match="not finite"):
            Message.from_bytes(_payload(data, 4, bits))


def test_coordinates_that_expand_beyond_all_numbers() -> None:
    basis = Basis(torch.full((1, 2), 3e38), torch.ones(1, 2))
    data = Message(torch.full((1, 2), 3.1e38), "abc", "lowrank", basis=basis).to_bytes()
    with pytest.raises(MessageError, match="lowrank message contains a number that is not finite"):
        Message.from_bytes(_payload(data, 0, b"\xff\x7b\x7f"), basis=basis)


def test_nothing_large_is_made_for_a_message_that_is_refused() -> None:
    huge = Header("a", "b", "c", "int4", 4096, 8192)  # within the limits: 128 MiB of float32
    wild = Header("a", "b", "c", "fp32", 999_999_999, 999_999_999)
    tracemalloc.start()
    for header in (huge, wild):
        with pytest.raises(MessageError):
            Message.from_bytes(header.seal(b"1234"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_reading_a_header_copies_nothing() -> None:
    data = Message(torch.ones(64, 4096), "abc", "fp32").to_bytes()
    tracemalloc.start()
    header, payload = read_header(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (header.n_tokens, header.width, len(payload)) == (64, 4096, 1 << 20)
    assert peak < 100_000


@pytest.mark.parametrize("seed", [1, 2])
def test_broken_messages_are_refused_or_sound(seed: int) -> None:
    found = fuzzing.fuzz(3000, seed)
    assert found["read"] > 30 and found["refused"] > 2000
    assert len(found["refused_by_first_words"]) > 15
    assert found["most_traced_bytes"] < 8 * found["limit_bytes"]
