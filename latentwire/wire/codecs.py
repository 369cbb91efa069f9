"""How the numbers of a message are written: one small class per way, all in `CODECS`.

A codec says which tensors it writes for a number of tokens and a width (`parts`), so that a
reader knows every byte it may meet before it looks at one. Everything is vectorised numpy: for a
few thousand numbers it costs microseconds, where a chain of tensor operations costs more to start
than to run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from latentwire.core.errors import MessageError

Numbers = npt.NDArray[np.float32]
"""Soft tokens, or what stands for them, (k, w)."""
Array = npt.NDArray[Any]

# safetensors' names. bfloat16 is kept as its 16 bits: numpy has no such type.
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}
_BF16_INFINITY = 0x7F80
_LARGEST_SCALE = _BF16_INFINITY - 1 - (7 << 7)  # bits of the largest bfloat16, over 2**7
_SMALLEST_SCALE = 2.0**-126  # the smallest normal number


@dataclass(frozen=True)
class Part:
    """One tensor of a message.

    Args:
        name: Its name in the file.
        dtype: Its type, as safetensors calls it.
        shape: Its sizes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @cached_property
    def n_bytes(self) -> int:
        """Its size."""
        return prod(self.shape) * DTYPES[self.dtype].itemsize


class Codec(ABC):
    """A way to write soft tokens.

    Attributes:
        name: Its name: command line, headers, results.
        needs_basis: Whether it writes coordinates in a `Basis` instead of the soft tokens.
    """

    name: ClassVar[str]
    needs_basis: ClassVar[bool] = False

    @abstractmethod
    def parts(self, n_tokens: int, width: int) -> tuple[Part, ...]:
        """The tensors of a message, in their order, for numbers (n_tokens, width)."""

    @abstractmethod
    def write(self, numbers: Numbers) -> list[Array]:
        """The tensors of `parts`. Raises: MessageError: If the numbers do not fit."""

    @abstractmethod
    def read(self, arrays: Sequence[Array], width: int) -> Numbers:
        """The numbers again, (k, w). Raises: MessageError: If one is not finite."""

    def _unfit(self) -> MessageError:
        return MessageError(
            f"The soft tokens do not fit into {self.name}: a number is not finite there. "
            "Look at the bridge, or take a wider codec: fp32."
        )

    def _not_finite(self) -> MessageError:
        return MessageError(f"The {self.name} message holds a number that is not finite.")


class _Float(Codec):
    """Base of the plain types."""

    dtype: ClassVar[str]

    def parts(self, n_tokens: int, width: int) -> tuple[Part, ...]:
        return (Part("soft", self.dtype, (n_tokens, width)),)

    def write(self, numbers: Numbers) -> list[Array]:
        with np.errstate(over="ignore"):
            written = numbers.astype(DTYPES[self.dtype])
        if not np.isfinite(written).all():
            raise self._unfit()
        return [written]

    def read(self, arrays: Sequence[Array], width: int) -> Numbers:
        if not np.isfinite(arrays[0]).all():
            raise self._not_finite()
        return arrays[0].astype(np.float32)


class Float32(_Float):
    """Four bytes a number, exact."""

    name, dtype = "fp32", "F32"


class Float16(_Float):
    """Two bytes a number: 11 significant bits, up to 65,504."""

    name, dtype = "fp16", "F16"


class BFloat16(_Float):
    """Two bytes a number: 8 significant bits, the range of float32."""

    name, dtype = "bf16", "BF16"

    def write(self, numbers: Numbers) -> list[Array]:
        written = _to_bf16(numbers)
        if not (np.isfinite(numbers).all() and _bf16_finite(written)):
            raise self._unfit()
        return [written]

    def read(self, arrays: Sequence[Array], width: int) -> Numbers:
        if not _bf16_finite(arrays[0]):
            raise self._not_finite()
        return _from_bf16(arrays[0])


class _Quantised(Codec):
    """Base of whole numbers times a scale.

    The scale belongs to a group of neighbours in one token: one number far from the rest, of
    which language models have a few, coarsens its group alone, and the layers of a deep prefix
    keep their own units. It is symmetric (0 stays 0) and in bfloat16, whose range is float32's:
    no embedding is too small for it. A number is off by at most half a scale.
    """

    group: ClassVar[int]
    levels: ClassVar[int]

    def write(self, numbers: Numbers) -> list[Array]:
        grouped = _in_groups(numbers, self.group)
        bits = _to_bf16(
            np.maximum(np.maximum.reduce(np.abs(grouped), -1) / self.levels, _SMALLEST_SCALE)
        )
        if not _scales_fit(bits):  # NaN and infinity end up here as well
            raise self._unfit()
        # The largest of a group is within levels * (1 +- 2**-9): its whole number is `levels`, no
        # other is beyond, and what was read and is written again has the same scale.
        whole = np.rint(grouped / _from_bf16(bits)[..., None]).astype(np.int8)
        return [bits, self.squeeze(whole, numbers.shape[1])]

    def read(self, arrays: Sequence[Array], width: int) -> Numbers:
        scale, written = arrays
        if not _scales_fit(scale):
            raise MessageError(
                f"The {self.name} message has a scale that is not a positive number of sensible "
                "size: zero, negative, NaN or huge."
            )
        whole = _in_groups(self.unsqueeze(written), self.group)
        numbers = whole.astype(np.float32) * _from_bf16(scale)[..., None]
        return numbers.reshape(len(written), -1)[:, :width]

    @abstractmethod
    def squeeze(self, whole: Array, width: int) -> Array:
        """Groups of whole numbers, (k, g, group), as they are written."""

    @abstractmethod
    def unsqueeze(self, written: Array) -> Array:
        """What was written as whole numbers, (k, w or more)."""


class Int8(_Quantised):
    """One byte a number, in groups of 64."""

    name, group, levels = "int8", 64, 127

    def parts(self, n_tokens: int, width: int) -> tuple[Part, ...]:
        n_groups = -(-width // self.group)
        return (
            Part("scale", "BF16", (n_tokens, n_groups)),
            Part("soft", "I8", (n_tokens, width)),
        )

    def squeeze(self, whole: Array, width: int) -> Array:
        return whole.reshape(len(whole), -1)[:, :width]

    def unsqueeze(self, written: Array) -> Array:
        return written


class Int4(_Quantised):
    """Two numbers a byte, in groups of 32; the first of a pair is the low half, 8 stands for 0."""

    name, group, levels = "int4", 32, 7

    def parts(self, n_tokens: int, width: int) -> tuple[Part, ...]:
        n_groups = -(-width // self.group)
        return (
            Part("scale", "BF16", (n_tokens, n_groups)),
            Part("soft", "U8", (n_tokens, n_groups * self.group // 2)),
        )

    def squeeze(self, whole: Array, width: int) -> Array:
        halves = (whole + 8).astype(np.uint8).reshape(len(whole), -1)
        return halves[:, ::2] | halves[:, 1::2] << 4

    def unsqueeze(self, written: Array) -> Array:
        halves = np.empty((written.shape[0], written.shape[1] * 2), np.int8)
        halves[:, ::2] = written & 15
        halves[:, 1::2] = written >> 4
        halves -= 8
        return halves


class LowRank(Int8):
    """Coordinates in the basis of the wire, one byte each; the receiver expands them."""

    name, needs_basis = "lowrank", True


CODECS: dict[str, Codec] = {
    each.name: each for each in (Float32(), Float16(), BFloat16(), Int8(), Int4(), LowRank())
}


def check_codec(name: str) -> Codec:
    """The codec called `name`. Raises: MessageError: If there is none."""
    try:
        return CODECS[name]
    except KeyError:
        raise MessageError(f"Unknown codec {name!a}. Known: {', '.join(CODECS)}.") from None


def _in_groups(rows: Array, group: int) -> Array:
    """(k, w) -> (k, g, group); the last group is filled up with zeros."""
    k, width = rows.shape
    if over := -width % group:
        filled = np.zeros((k, width + over), rows.dtype)
        filled[:, :width] = rows
        rows = filled
    return rows.reshape(k, -1, group)


def _to_bf16(numbers: Numbers) -> npt.NDArray[np.uint16]:
    """Bits of the nearest bfloat16, ties to even; NaN becomes no positive number."""
    bits = numbers.view(np.uint32)
    return (bits + 0x7FFF + (bits >> 16 & 1) >> 16).astype(np.uint16)


def _from_bf16(bits: Array) -> Numbers:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _bf16_finite(bits: Array) -> bool:
    return bool(((bits & _BF16_INFINITY) != _BF16_INFINITY).all())


def _scales_fit(bits: Array) -> bool:
    """Whether all are positive, finite, and 128 of one are still finite."""
    return bool(((bits - np.uint16(1)) < _LARGEST_SCALE).all())  # 0 wraps around to the largest
