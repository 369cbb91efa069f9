"""The experiment registry: one index and one record per run. Imports neither torch nor pydantic."""

from telepathy.experiments.registry.record import STATES, Record
from telepathy.experiments.registry.registry import DEFAULT_PATH, NotDueError, Registry
from telepathy.experiments.registry.scheduling import Decision, decide

__all__ = ["DEFAULT_PATH", "STATES", "Decision", "NotDueError", "Record", "Registry", "decide"]
