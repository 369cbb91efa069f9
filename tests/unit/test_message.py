"""Messages survive the trip; anything else is a MessageError."""

from __future__ import annotations

import pytest
import torch

from latentwire.errors import MessageError
from latentwire.message import Message


@pytest.mark.parametrize("encoding", ["fp32", "fp16"])
def test_round_trip(encoding: str) -> None:
    soft = torch.randn(8, 64)
    back = Message.from_bytes(Message(soft, "abc", encoding).to_bytes())
    assert (back.bridge, back.encoding) == ("abc", encoding)
    assert torch.allclose(back.soft, soft, atol=0 if encoding == "fp32" else 2e-3)


def test_size_is_the_numbers_and_a_small_header() -> None:
    data = Message(torch.randn(8, 640), "abc", "fp16").to_bytes()
    assert 8 * 640 * 2 < len(data) < 8 * 640 * 2 + 300


def test_damaged_or_foreign_bytes() -> None:
    good = Message(torch.ones(2, 4), "abc").to_bytes()
    for bad in (b"", b"1234567", b"\xff" * 64, good[:-1], good[:20], good + b"x", b"{}" * 40):
        with pytest.raises(MessageError):
            Message.from_bytes(bad)
    with pytest.raises(MessageError, match="version"):
        Message.from_bytes(good.replace(b'"latentwire":"1"', b'"latentwire":"9"'))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_numbers_that_do_not_fit(value: float) -> None:
    with pytest.raises(MessageError, match="fp16"):
        Message(torch.full((2, 4), value), "abc", "fp16").to_bytes()
    with pytest.raises(MessageError, match="encoding"):
        Message(torch.ones(2, 4), "abc", "fp7").to_bytes()
