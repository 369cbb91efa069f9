"""Bridges: sender states -> soft tokens. Each bridge is one file in this package."""

from latentwire.bridge.base import BRIDGES, Bridge, build_bridge
from latentwire.bridge.pair_facts import AlignedSpans, InitialPrefix, PairFacts

__all__ = ["BRIDGES", "AlignedSpans", "Bridge", "InitialPrefix", "PairFacts", "build_bridge"]
