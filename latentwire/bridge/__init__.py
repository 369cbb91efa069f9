"""Bridges: sender states -> soft tokens. A kind is one file in `latentwire.bridge`."""

from latentwire.bridge.base import (
    BRIDGES,
    AlignedSpans,
    Bridge,
    InitialPrefix,
    PairFacts,
    build_bridge,
)

__all__ = ["BRIDGES", "AlignedSpans", "Bridge", "InitialPrefix", "PairFacts", "build_bridge"]
