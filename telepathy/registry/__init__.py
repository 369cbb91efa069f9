"""The registry of experiments: one index, one record per run, no model and no torch."""

from telepathy.registry.due import Decision, decide
from telepathy.registry.record import STATES, Record
from telepathy.registry.registry import DEFAULT_PATH, NotDueError, Registry

__all__ = ["DEFAULT_PATH", "STATES", "Decision", "NotDueError", "Record", "Registry", "decide"]
