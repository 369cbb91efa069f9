"""Bridges: sender states -> soft tokens. A kind is one file in `latentwire.bridge.kinds`."""

from latentwire.bridge.base import BRIDGES, Bridge, Calibration, Prefix, Spans, build_bridge

__all__ = ["BRIDGES", "Bridge", "Calibration", "Prefix", "Spans", "build_bridge"]
