"""Experiment trackers for training metrics. Each tracker is one file in this package."""

from latentwire.train.trackers.base import TRACKERS, Tracker
from latentwire.train.trackers.group import Trackers

__all__ = ["TRACKERS", "Tracker", "Trackers"]
