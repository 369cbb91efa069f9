"""Findings of the analysis and proposed fixes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Fix:
    """A remedy for failed runs.

    Args:
        advice: What to do.
        changes: Key of a run -> dotted key of its configuration -> new value. Empty if the
            configuration is not the cause.
    """

    advice: str
    changes: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The fix as a JSON object."""
        return {"advice": self.advice, "changes": dict(self.changes)}


@dataclass(frozen=True)
class Finding:
    """One statement about some runs.

    Args:
        kind: Short name of the kind of finding; the same for all findings of one detector.
        statement: One sentence.
        keys: Keys of the runs concerned.
        details: Evidence and further information.
        about: Further subjects of the finding, such as task and method.
        data: Machine-readable figures.
        fix: Proposed fix, if one is known.
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
