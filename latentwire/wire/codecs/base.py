"""Base class and catalogue of codecs.

`layout` gives the tensors that a codec writes for a number of tokens and a width, so that a message
is checked before it is decoded. Codecs use vectorized numpy: for a few thousand numbers, launching
a chain of torch operations takes longer than running it.
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

from latentwire.core.catalogue import Catalogue
from latentwire.core.errors import MessageError

Numbers = npt.NDArray[np.float32]
"""Soft tokens, or their coordinates in a basis, (k, w)."""
Array = npt.NDArray[Any]

# By safetensors name. numpy has no bfloat16, so its 16 bits are stored as an integer.
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}

CODECS: Catalogue[type[Codec]] = Catalogue(
    "codec", "latentwire.wire.codecs", "latentwire.codecs", name_attribute="name"
)


@dataclass(frozen=True)
class TensorSpec:
    """Name, dtype (a key of `DTYPES`) and shape of one tensor in a message."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @cached_property
    def n_bytes(self) -> int:
        """Size in bytes."""
        return prod(self.shape) * DTYPES[self.dtype].itemsize


class Codec(ABC):
    """Number format of messages. Codecs have no state and are created without arguments.

    Attributes:
        name: Name on the command line, in headers and in results.
        needs_basis: Whether coordinates in the wire's `Basis` are written instead of soft tokens.
    """

    name: ClassVar[str]
    needs_basis: ClassVar[bool] = False

    @abstractmethod
    def layout(self, n_tokens: int, width: int) -> tuple[TensorSpec, ...]:
        """Return the tensors of a message with numbers (n_tokens, width), in writing order."""

    @abstractmethod
    def write(self, numbers: Numbers) -> list[Array]:
        """Return the arrays of `layout`.

        Args:
            numbers: Numbers, (k, w); may be infinite or NaN.
        Raises: MessageError: If a number cannot be represented.
        """

    @abstractmethod
    def read(self, arrays: Sequence[Array], width: int) -> Numbers:
        """Return the rounded numbers that `write` encoded, (k, w).

        Args:
            arrays: Arrays of `layout`, possibly from an untrusted message.
            width: Width w of the numbers.
        Raises: MessageError: If a number is not finite.
        """

    def round(self, numbers: Numbers) -> Numbers:
        """Return numbers as a reader of the message gets them, (k, w).

        Raises: MessageError: If a number cannot be represented.
        """
        arrays = self.write(numbers)
        layout = [(DTYPES[t.dtype], t.shape) for t in self.layout(*numbers.shape)]
        if [(array.dtype, array.shape) for array in arrays] != layout:
            raise MessageError(
                f"The codec '{self.name}' wrote {[(str(a.dtype), a.shape) for a in arrays]}; its "
                f"layout is {[(str(dtype), shape) for dtype, shape in layout]}."
            )
        return self.read(arrays, numbers.shape[1])

    def n_bytes(self, n_tokens: int, width: int) -> int:
        """Return the size of a message in bytes, without its header."""
        return sum(tensor.n_bytes for tensor in self.layout(n_tokens, width))

    def unfit(self) -> MessageError:
        """Return the error for numbers that cannot be written."""
        return MessageError(
            f"The soft tokens cannot be written as {self.name}: a number is infinite, NaN or too "
            "large. Check the bridge, or use a wider codec such as fp32."
        )

    def not_finite(self) -> MessageError:
        """Return the error for a message with a number that is infinite or NaN."""
        return MessageError(f"The {self.name} message contains a number that is not finite.")


def find_codec(name: str) -> Codec:
    """Return the codec called `name`. Raises: MessageError: If there is none."""
    codec = CODECS.find(name)
    if codec is None:  # the name may come from an untrusted message: print it escaped
        raise MessageError(f"Unknown codec {name!a}. Known: {', '.join(CODECS.names())}.")
    return codec()
