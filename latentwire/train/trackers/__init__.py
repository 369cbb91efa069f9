"""Experiment trackers: where training metrics also go. One tracker per file."""

from latentwire.train.trackers.base import TRACKERS, Tracker
from latentwire.train.trackers.group import Trackers

__all__ = ["TRACKERS", "Tracker", "Trackers"]
