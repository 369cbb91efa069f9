"""What holds for every message: it comes back within its codec's error, or it is refused."""

from __future__ import annotations

import atexit
import struct
import zlib
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from torch import Tensor

from latentwire.core.errors import MessageError
from latentwire.wire.basis import Basis
from latentwire.wire.codecs import CODECS
from latentwire.wire.header import Limits
from latentwire.wire.message import Message

# When tests are collected, Hypothesis notes what stands in our sources: not beside them, please.
_HOME = TemporaryDirectory()
atexit.register(_HOME.cleanup)
set_hypothesis_home_dir(_HOME.name)
# Equal in every run, on a busy machine as well; what it finds is not kept.
SOBER = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
LIMITS = Limits(max_bytes=1 << 16, max_tokens=64, max_width=4096)
NAMES = st.text(st.sampled_from("abcxyzABC019@+-_./:{}[]',"), max_size=40)
UNITS = st.integers(-100, 100)  # powers of two
WHOLE = Basis(torch.zeros(3, 8), torch.eye(8))  # loses nothing itself
SOUND = [
    Message(torch.arange(24.0).reshape(3, 8) / 7, "0" * 16, codec, "a@1", "b@2", WHOLE).to_bytes()
    for codec in CODECS.names()
]


def _most_off(soft: Tensor, codec: str) -> Tensor:
    """How far each number may be off, as docs/DESIGN.md and the codecs promise."""
    if codec == "fp32":
        return torch.zeros_like(soft)
    if codec == "fp16":
        return soft.abs() * 2**-11 + 2**-25
    if codec == "bf16":
        return soft.abs() * 2**-8
    group, levels = (32, 7) if codec == "int4" else (64, 127)
    parts = [part.abs().amax(1, keepdim=True).expand_as(part) for part in soft.split(group, 1)]
    # Half a scale, which is a bfloat16 itself and never below the smallest normal number.
    return (torch.cat(parts, 1) / levels * (1 + 2**-7)).clamp_min(2**-126) * 0.5001


@st.composite
def soft_tokens(draw: st.DrawFn, shape: tuple[int, int] | None = None) -> Tensor:
    """Numbers of one size, with some that are far from it and some zeros."""
    k, width = shape or (draw(st.integers(1, 5)), draw(st.integers(1, 140)))
    numbers = np.random.RandomState(draw(st.integers(0, 2**32 - 1))).randn(k, width)
    scales = draw(st.lists(st.sampled_from((0.0, 1e-6, 1.0, 50.0)), min_size=1, max_size=7))
    return torch.from_numpy((numbers * np.resize(scales, (k, width))).astype(np.float32))


@pytest.mark.parametrize("codec", ["fp32", "fp16", "bf16", "int8", "int4"])
@SOBER
@given(soft=soft_tokens(), unit=UNITS, bridge=NAMES, sender=NAMES, receiver=NAMES)
def test_a_message_comes_back_within_its_error(
    codec: str, soft: Tensor, unit: int, bridge: str, sender: str, receiver: str
) -> None:
    soft = soft if codec == "fp16" else soft * 2.0**unit
    data = Message(soft, bridge, codec, sender, receiver).to_bytes()
    back = Message.from_bytes(data)
    assert (back.bridge, back.sender, back.receiver) == (bridge, sender, receiver)
    assert back.codec == codec and back.soft.shape == soft.shape
    assert bool(((back.soft - soft).abs() <= _most_off(soft, codec)).all())
    assert back.to_bytes() == data  # handing on what was read loses nothing more


@SOBER
@given(soft=soft_tokens((3, 8)), seed=st.integers(0, 1000), rank=st.integers(1, 8))
def test_a_lowrank_message_comes_back_within_its_error(soft: Tensor, seed: int, rank: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    turned = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q[:rank].contiguous()
    basis = Basis(torch.randn(3, 8, generator=generator), turned)
    back = Message.from_bytes(Message(soft, "b", "lowrank", basis=basis).to_bytes(), basis=basis)
    best = (soft - basis.mean) @ turned.T @ turned + basis.mean  # what the rank leaves of it
    codes = (soft - basis.mean) @ turned.T
    # Directions are orthonormal: coordinates and soft tokens are equally far apart.
    most = _most_off(codes, "lowrank").norm(dim=1) + 1e-4 * (1 + soft.norm(dim=1))
    assert bool(((back.soft - best).norm(dim=1) <= most).all())


def _resealed(data: bytes) -> bytes:
    """The same bytes with the checksum that they should have, where there is a place for it."""
    end = 8 + struct.unpack_from("<Q", data.ljust(8, b"\0"))[0]
    at = data.find(b'"checksum":"', 8, end) + len(b'"checksum":"')
    if at + 8 > min(end, len(data)) or at < 20:
        return data
    zeroed = data[:at] + b"0" * 8 + data[at + 8 :]
    return data[:at] + b"%08x" % zlib.crc32(zeroed) + data[at + 8 :]


def _read(data: bytes) -> None:
    """Read what may be no message: it is refused, or sound."""
    try:
        message = Message.from_bytes(data, basis=WHOLE, limits=LIMITS)
    except MessageError as error:
        str(error).encode()  # it can be printed, whatever the bytes were
        return
    k, width = message.soft.shape
    assert 0 < k <= LIMITS.max_tokens and 0 < width <= LIMITS.max_width
    assert message.soft.dtype == torch.float32 and bool(np.isfinite(message.soft.numpy()).all())


CHANGES = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 9), st.binary(max_size=9)), min_size=1, max_size=4
)


@settings(SOBER, max_examples=300)
@given(data=st.sampled_from(SOUND), changes=CHANGES, sealed=st.booleans())
def test_changed_bytes_are_refused_or_sound(
    data: bytes, changes: list[tuple[float, int, bytes]], sealed: bool
) -> None:
    for where, n_gone, new in changes:
        at = int(where * len(data))
        data = data[:at] + new + data[at + n_gone :]
    _read(_resealed(data) if sealed else data)


@settings(SOBER, max_examples=300)
@given(
    data=st.sampled_from(SOUND),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 7)), min_size=1, max_size=3),
)
def test_flipped_bits_never_pass(data: bytes, flips: list[tuple[float, int]]) -> None:
    changed = bytearray(data)
    for where, bit in flips:
        changed[int(where * (len(data) - 1))] ^= 1 << bit
    if changed == data:  # the same bit twice
        return
    Message.from_bytes(data, basis=WHOLE)  # its header is known now, and helps no other one
    with pytest.raises(MessageError):
        Message.from_bytes(bytes(changed), basis=WHOLE)


@settings(SOBER, max_examples=200)
@given(data=st.binary(max_size=200), framed=st.booleans())
def test_any_bytes_are_refused_or_sound(data: bytes, framed: bool) -> None:
    _read(struct.pack("<Q", len(data)) + data if framed else data)
