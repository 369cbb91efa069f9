"""Base class and catalogue of codecs.

A codec states which tensors it writes for a number of tokens and a width (`layout`), so that a
reader knows every byte of a message before it looks at the first one. Codecs are vectorised numpy:
for a few thousand numbers, a chain of torch operations takes longer to start than to run.
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

# Names of safetensors. bfloat16 is kept as its 16 bits, since numpy has no such type.
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}

CODECS: Catalogue[type[Codec]] = Catalogue("codec", "latentwire.wire.codecs", "latentwire.codecs")


@dataclass(frozen=True)
class TensorSpec:
    """Name, type and shape of one tensor in a message.

    Args:
        name: Name in the file.
        dtype: Type, a key of `DTYPES`.
        shape: Sizes of the dimensions.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @cached_property
    def n_bytes(self) -> int:
        """Size in bytes."""
        return prod(self.shape) * DTYPES[self.dtype].itemsize


class Codec(ABC):
    """A way to write soft tokens. Codecs have no state and are created without arguments.

    Attributes:
        name: Name on the command line, in headers and in results.
        needs_basis: Whether coordinates in the wire's `Basis` are written instead of soft tokens.
    """

    name: ClassVar[str]
    needs_basis: ClassVar[bool] = False

    @abstractmethod
    def layout(self, n_tokens: int, width: int) -> tuple[TensorSpec, ...]:
        """Tensors of a message with numbers (n_tokens, width), in the order they are written."""

    @abstractmethod
    def write(self, numbers: Numbers) -> list[Array]:
        """Return the arrays of `layout`.

        Args:
            numbers: Finite or not, (k, w).
        Raises: MessageError: If a number cannot be represented.
        """

    @abstractmethod
    def read(self, arrays: Sequence[Array], width: int) -> Numbers:
        """Return the numbers that `write` was given, rounded, (k, w).

        Args:
            arrays: Arrays of `layout`, perhaps from an untrusted message.
            width: Width w of the numbers.
        Raises: MessageError: If a number is not finite.
        """

    def round(self, numbers: Numbers) -> Numbers:
        """Return what a reader gets for these numbers, (k, w), without making any bytes.

        Raises: MessageError: If a number cannot be represented.
        """
        return self.read(self.write(numbers), numbers.shape[1])

    def n_bytes(self, n_tokens: int, width: int) -> int:
        """Size of the tensors of a message, without its header."""
        return sum(tensor.n_bytes for tensor in self.layout(n_tokens, width))

    def unfit(self) -> MessageError:
        """Return the error for numbers that cannot be written."""
        return MessageError(
            f"The soft tokens do not fit into {self.name}: a number is infinite, NaN or too large "
            "for it. Check the bridge, or use a wider codec such as fp32."
        )

    def not_finite(self) -> MessageError:
        """Return the error for a message with a number that is infinite or NaN."""
        return MessageError(f"The {self.name} message holds a number that is not finite.")


def find_codec(name: str) -> Codec:
    """Return the codec called `name`. Raises: MessageError: If there is none."""
    codec = CODECS.find(name)
    if codec is None:  # the name may come from an untrusted message: print it escaped
        raise MessageError(f"Unknown codec {name!a}. Known: {', '.join(CODECS.names())}.")
    return codec()
