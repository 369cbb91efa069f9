"""The catalogue of what may look wrong though a run succeeded. One function is one detector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from telepathy.experiments.analysis.findings import Finding
from telepathy.experiments.analysis.results import Cell
from telepathy.experiments.analysis.run import Run


@dataclass(frozen=True)
class Evidence:
    """What detectors look at.

    Args:
        runs: All runs, in any state.
        completed: Those that are done and whose name has no newer configuration.
        cells: What the completed ones reached.
    """

    runs: Sequence[Run]
    completed: Sequence[Run]
    cells: Sequence[Cell]


Detect = Callable[[Evidence], Iterable[Finding]]
Join = Callable[[Sequence[Finding]], Iterable[Finding]]


@dataclass(frozen=True)
class Detector:
    """A detector.

    Args:
        kind: What it finds; the `kind` of its findings.
        find: Finds it.
        unless: Kinds that explain its findings: of a run that has one of these, about the same
            task and method, it says nothing.
        join: Makes few statements of those that are left.
    """

    kind: str
    find: Detect
    unless: tuple[str, ...]
    join: Join


DETECTORS: dict[str, Detector] = {}


def detector(
    kind: str, *, unless: Sequence[str] = (), join: Join = lambda findings: findings
) -> Callable[[Detect], Detect]:
    """Add a function to the catalogue; those that explain others are added before them."""

    def add(find: Detect) -> Detect:
        DETECTORS[kind] = Detector(kind, find, tuple(unless), join)
        return find

    return add


def suspicions(evidence: Evidence) -> list[Finding]:
    """What all detectors find, without what is explained by something else."""
    from telepathy.experiments.analysis import answer_detectors, run_detectors  # noqa: F401 - they add theirs

    found: list[Finding] = []
    for each in DETECTORS.values():
        causes = [f for f in found if f.kind in each.unless]
        found += each.join([f for f in each.find(evidence) if not _explained(f, causes)])
    return found


def _explained(finding: Finding, causes: Sequence[Finding]) -> bool:
    keys = {key for cause in causes if cause.about == finding.about for key in cause.keys}
    return bool(finding.keys) and keys.issuperset(finding.keys)
