"""Codecs: how the numbers of a message are written. A codec is one class in one file."""

from latentwire.wire.codecs.base import (
    CODECS,
    DTYPES,
    Array,
    Codec,
    Numbers,
    TensorSpec,
    find_codec,
)

__all__ = ["CODECS", "DTYPES", "Array", "Codec", "Numbers", "TensorSpec", "find_codec"]
