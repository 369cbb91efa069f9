"""The registry of experiments: one index, one record per run, no model and no torch."""

from telepathy.experiments.registry.record import STATES, Record
from telepathy.experiments.registry.registry import DEFAULT_PATH, NotDueError, Registry
from telepathy.experiments.registry.scheduling import Decision, decide

__all__ = ["DEFAULT_PATH", "STATES", "Decision", "NotDueError", "Record", "Registry", "decide"]
