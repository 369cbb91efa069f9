"""Floating-point codecs: fp32, fp16, bf16."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from latentwire.wire.codecs.base import CODECS, DTYPES, Array, Codec, Numbers, TensorSpec

BF16_INFINITY = 0x7F80


class FloatCodec(Codec):
    """Base of codecs that write one array of a numpy float type."""

    dtype: ClassVar[str]

    def layout(self, n_tokens: int, width: int) -> tuple[TensorSpec, ...]:
        return (TensorSpec("soft", self.dtype, (n_tokens, width)),)

    def write(self, numbers: Numbers) -> list[Array]:
        with np.errstate(over="ignore"):
            written = numbers.astype(DTYPES[self.dtype])
        if not np.isfinite(written).all():
            raise self.unfit()
        return [written]

    def read(self, arrays: Sequence[Array], width: int) -> Numbers:
        if not np.isfinite(arrays[0]).all():
            raise self.not_finite()
        return arrays[0].astype(np.float32)

    def round(self, numbers: Numbers) -> Numbers:
        with np.errstate(over="ignore"):
            rounded = numbers.astype(DTYPES[self.dtype]).astype(np.float32)
        if not np.isfinite(rounded).all():
            raise self.unfit()
        return rounded


@CODECS.add("fp32")
class Float32(FloatCodec):
    """Four bytes per number, exact."""

    name, dtype = "fp32", "F32"


@CODECS.add("fp16")
class Float16(FloatCodec):
    """Two bytes per number: 11 significant bits, up to 65,504."""

    name, dtype = "fp16", "F16"


@CODECS.add("bf16")
class BFloat16(Codec):
    """Two bytes per number: 8 significant bits, the range of float32."""

    name = "bf16"

    def layout(self, n_tokens: int, width: int) -> tuple[TensorSpec, ...]:
        return (TensorSpec("soft", "BF16", (n_tokens, width)),)

    def write(self, numbers: Numbers) -> list[Array]:
        written = to_bf16(numbers)
        if not (np.isfinite(numbers).all() and _all_finite(written)):
            raise self.unfit()
        return [written]

    def read(self, arrays: Sequence[Array], width: int) -> Numbers:
        if not _all_finite(arrays[0]):
            raise self.not_finite()
        return from_bf16(arrays[0])


def to_bf16(numbers: Numbers) -> npt.NDArray[np.uint16]:
    """Return the bits of the nearest bfloat16, ties to even; NaN does not stay NaN."""
    bits = numbers.view(np.uint32)
    return (bits + 0x7FFF + (bits >> 16 & 1) >> 16).astype(np.uint16)


def from_bf16(bits: Array) -> Numbers:
    """Return the numbers that bfloat16 bits represent."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _all_finite(bits: Array) -> bool:
    return bool(((bits & BF16_INFINITY) != BF16_INFINITY).all())
