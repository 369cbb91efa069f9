"""Quantizing codecs, which write integers and scales: int8, int4 and lowrank."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from latentwire.core.errors import MessageError
from latentwire.wire.codecs.base import CODECS, Array, Codec, Numbers, TensorSpec
from latentwire.wire.codecs.floats import BF16_INFINITY, from_bf16, to_bf16

_LARGEST_SCALE = BF16_INFINITY - 1 - (7 << 7)  # bits of the largest bfloat16 divided by 2**7
_SMALLEST_SCALE = 2.0**-126  # the smallest normal number


class IntegerCodec(Codec):
    """Base of codecs that write integers and scales.

    Each group of neighbouring numbers in one token has its own scale, so an outlier reduces the
    precision of its own group only, and the layers of a deep prefix keep their own ranges.
    Quantization is symmetric (0 stays 0). The scale is a bfloat16, which covers the range of
    float32. The error of a number is at most half a scale.

    Attributes:
        group: Number of values that share a scale.
        levels: Largest integer.
    """

    group: ClassVar[int]
    levels: ClassVar[int]

    def write(self, numbers: Numbers) -> list[Array]:
        scale, integers = self._quantize(numbers)
        return [scale, self.squeeze(integers, numbers.shape[1])]

    def read(self, arrays: Sequence[Array], width: int) -> Numbers:
        scale, written = arrays
        if not _scales_fit(scale):
            raise MessageError(
                f"The {self.name} message has an invalid scale: it is zero, negative, NaN or "
                "too large."
            )
        return _scaled(scale, _in_groups(self.unsqueeze(written), self.group), width)

    def round(self, numbers: Numbers) -> Numbers:
        return _scaled(*self._quantize(numbers), numbers.shape[1])

    def _quantize(self, numbers: Numbers) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int8]]:
        """Return the bits of each group's scale, (k, g), and the integers, (k, g, group)."""
        grouped = _in_groups(numbers, self.group)
        largest = np.maximum.reduce(np.abs(grouped), -1)
        bits = to_bf16(np.maximum(largest / self.levels, _SMALLEST_SCALE))
        if not _scales_fit(bits):  # also catches NaN and infinity
            raise self.unfit()
        # The largest quotient in a group is within levels * (1 +- 2**-9), so its integer is
        # `levels`, the maximum. Encoding a decoded message therefore gives the same scale.
        return bits, np.rint(grouped / from_bf16(bits)[..., None]).astype(np.int8)

    @abstractmethod
    def squeeze(self, integers: Array, width: int) -> Array:
        """Convert groups of integers, (k, g, group), to their written form."""

    @abstractmethod
    def unsqueeze(self, written: Array) -> Array:
        """Convert the written form to integers, (k, w) or wider."""


@CODECS.add("int8")
class Int8(IntegerCodec):
    """One byte per number, in groups of 64."""

    name, group, levels = "int8", 64, 127

    def layout(self, n_tokens: int, width: int) -> tuple[TensorSpec, ...]:
        n_groups = -(-width // self.group)
        return (
            TensorSpec("scale", "BF16", (n_tokens, n_groups)),
            TensorSpec("soft", "I8", (n_tokens, width)),
        )

    def squeeze(self, integers: Array, width: int) -> Array:
        return integers.reshape(len(integers), -1)[:, :width]

    def unsqueeze(self, written: Array) -> Array:
        return written


@CODECS.add("int4")
class Int4(IntegerCodec):
    """Two numbers per byte, low half first, stored with an offset of 8; groups of 32."""

    name, group, levels = "int4", 32, 7

    def layout(self, n_tokens: int, width: int) -> tuple[TensorSpec, ...]:
        n_groups = -(-width // self.group)
        return (
            TensorSpec("scale", "BF16", (n_tokens, n_groups)),
            TensorSpec("soft", "U8", (n_tokens, n_groups * self.group // 2)),
        )

    def squeeze(self, integers: Array, width: int) -> Array:
        halves = (integers + 8).astype(np.uint8).reshape(len(integers), -1)
        return halves[:, ::2] | halves[:, 1::2] << 4

    def unsqueeze(self, written: Array) -> Array:
        halves = np.empty((written.shape[0], written.shape[1] * 2), np.int8)
        halves[:, ::2] = written & 15
        halves[:, 1::2] = written >> 4
        halves -= 8
        return halves


@CODECS.add("lowrank")
class LowRank(Int8):
    """Coordinates in the low-rank basis of the wire, one byte each."""

    name, needs_basis = "lowrank", True


def _in_groups(rows: Array, group: int) -> Array:
    """Reshape (k, w) to (k, g, group); the last group is padded with zeros."""
    k, width = rows.shape
    if missing := -width % group:
        filled = np.zeros((k, width + missing), rows.dtype)
        filled[:, :width] = rows
        rows = filled
    return rows.reshape(k, -1, group)


def _scaled(scale: Array, integers: Array, width: int) -> Numbers:
    """Multiply integers, (k, g, group), by scales in bits, (k, g); return (k, width)."""
    numbers = integers.astype(np.float32) * from_bf16(scale)[..., None]
    return numbers.reshape(len(integers), -1)[:, :width]


def _scales_fit(bits: Array) -> bool:
    """Whether all scales are positive and finite, and 128 times each is finite."""
    return bool(((bits - np.uint16(1)) < _LARGEST_SCALE).all())  # 0 wraps around to the largest
