"""Every codec of the catalogue: layout, rounding, sizes and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from latentwire.core.errors import MessageError
from latentwire.wire.basis import Basis, fit_basis
from latentwire.wire.codecs import CODECS, DTYPES, Numbers, find_codec
from latentwire.wire.message import Message

EVERY_CODEC = pytest.mark.parametrize("name", CODECS.names())
SHAPES = pytest.mark.parametrize("shape", [(1, 1), (3, 7), (8, 640), (5, 65)])


def _numbers(shape: tuple[int, int]) -> Numbers:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).numpy()


def _soft_and_basis() -> tuple[Tensor, Basis]:
    soft = torch.randn(12, 5, 70, generator=torch.Generator().manual_seed(0))
    return soft[0], fit_basis(soft, 33)


def _message(soft: Tensor, codec: str, basis: Basis) -> Message:
    return Message(soft, "0" * 16, codec, "a/b@1", "c@2", basis)


@EVERY_CODEC
def test_codec_has_the_name_it_is_registered_by(name: str) -> None:
    assert CODECS.get(name).name == name and CODECS.get(name).__doc__


@EVERY_CODEC
@SHAPES
def test_codec_writes_the_tensors_of_its_layout(name: str, shape: tuple[int, int]) -> None:
    codec = find_codec(name)
    arrays, layout = codec.write(_numbers(shape)), codec.layout(*shape)
    assert [array.shape for array in arrays] == [tensor.shape for tensor in layout]
    assert [array.dtype for array in arrays] == [DTYPES[tensor.dtype] for tensor in layout]
    assert codec.n_bytes(*shape) == sum(array.nbytes for array in arrays)


@EVERY_CODEC
@SHAPES
def test_codec_rounds_as_a_reader_reads(name: str, shape: tuple[int, int]) -> None:
    codec, numbers = find_codec(name), _numbers(shape)
    read = codec.read(codec.write(numbers), shape[1])
    rounded = codec.round(numbers)
    assert rounded.dtype == np.float32 and np.array_equal(rounded, read)
    assert np.array_equal(codec.round(rounded), rounded)


@EVERY_CODEC
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_codec_refuses_what_is_not_finite(name: str, value: float) -> None:
    numbers = _numbers((3, 70))
    numbers[1, 66] = value
    for refuse in (find_codec(name).write, find_codec(name).round):
        with pytest.raises(MessageError, match=f"cannot be written as {name}"):
            refuse(numbers)


@EVERY_CODEC
def test_message_n_bytes_is_the_size_of_its_bytes(name: str) -> None:
    soft, basis = _soft_and_basis()
    message = _message(soft, name, basis)
    assert message.n_bytes == len(message.to_bytes())


@EVERY_CODEC
def test_message_of_rounded_soft_tokens_has_the_same_bytes(name: str) -> None:
    soft, basis = _soft_and_basis()
    data = _message(soft, name, basis).to_bytes()
    rounded = Message.from_bytes(data, basis=basis)
    assert rounded.to_bytes() != b"" and _message(rounded.soft, name, basis).to_bytes() == data
    again = Message.from_bytes(rounded.to_bytes(), basis=basis)
    assert torch.equal(again.soft, rounded.soft)


def test_find_codec_escapes_unknown_names() -> None:
    with pytest.raises(MessageError, match=r"Unknown codec 'int\\ud800'\. Known: bf16, fp16"):
        find_codec("int\ud800")
