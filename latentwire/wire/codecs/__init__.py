"""Codecs: number formats of messages."""

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
