"""Sinks: where a training's numbers also go. A kind is one file in `latentwire.sinks.kinds`."""

from latentwire.sinks.base import SINKS, Sink
from latentwire.sinks.group import Sinks

__all__ = ["SINKS", "Sink", "Sinks"]
