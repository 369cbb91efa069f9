"""One statement of the analysis, with the runs it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Fix:
    """What would mend a failure.

    Args:
        advice: What to do, in words.
        changes: Key of a run -> dotted key of its configuration -> new value; empty where the
            configuration is not at fault.
    """

    advice: str
    changes: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The fix as a JSON object."""
        return {"advice": self.advice, "changes": dict(self.changes)}


@dataclass(frozen=True)
class Finding:
    """One statement.

    Args:
        kind: What it is, in a few words; the same for all statements of one detector.
        statement: One sentence.
        keys: Runs it is about.
        details: What it rests on, and what it would be well to know.
        about: What it is about beside the runs: task, method and the like.
        data: Its figures, for programs.
        fix: What would mend it, if that is known.
    """

    kind: str
    statement: str
    keys: tuple[str, ...]
    details: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    fix: Fix | None = None

    def to_json(self) -> dict[str, Any]:
        """The finding as a JSON object."""
        return {
            "kind": self.kind,
            "statement": self.statement,
            "runs": list(self.keys),
            "details": list(self.details),
            "data": self.data,
            "fix": self.fix.to_json() if self.fix else None,
        }
