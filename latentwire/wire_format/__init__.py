"""Soft tokens as bytes: a strict header, encodings of the numbers, and a low-rank basis."""

from latentwire.wire_format.basis import DEFAULT_RANK, Basis, fit_basis
from latentwire.wire_format.encodings import ENCODINGS, Encoding, check_encoding
from latentwire.wire_format.header import LIMITS, Header, Limits, header_of, read_header

__all__ = [
    "DEFAULT_RANK",
    "ENCODINGS",
    "LIMITS",
    "Basis",
    "Encoding",
    "Header",
    "Limits",
    "check_encoding",
    "fit_basis",
    "header_of",
    "read_header",
]
