"""Bridges: sender states -> soft tokens. A kind is one file in `latentwire.bridge`."""

from latentwire.bridge.base import BRIDGES, Bridge, PairFacts, Prefix, Spans, build_bridge

__all__ = ["BRIDGES", "Bridge", "PairFacts", "Prefix", "Spans", "build_bridge"]
