"""Detectors: functions that find suspicious results among completed runs.

Each function in the package `detectors` that is decorated with `@detector(kind)` is one detector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from latentwire.core.catalogue import Catalogue
from telepathy.experiments.analysis.analyzed_run import AnalyzedRun
from telepathy.experiments.analysis.findings import Finding
from telepathy.experiments.analysis.results import PooledResult


@dataclass(frozen=True)
class Evidence:
    """Input of the detectors.

    Args:
        runs: All runs, in any state.
        completed: Completed runs that are not superseded.
        results: Pooled results of the completed runs.
    """

    runs: Sequence[AnalyzedRun]
    completed: Sequence[AnalyzedRun]
    results: Sequence[PooledResult]


Detect = Callable[[Evidence], Iterable[Finding]]
Summarize = Callable[[Sequence[Finding]], Iterable[Finding]]


@dataclass(frozen=True)
class Detector:
    """A registered detector.

    Args:
        find: Finds suspicious results.
        unless: Kinds of findings that explain those of this detector. A finding is dropped if
            these concern all of its runs and the same task and method.
        summarize: Merges the remaining findings.
    """

    find: Detect
    unless: tuple[str, ...]
    summarize: Summarize


DETECTORS: Catalogue[Detector] = Catalogue("detector", "telepathy.experiments.analysis.detectors")


def detector(
    kind: str, *, unless: Sequence[str] = (), summarize: Summarize = lambda findings: findings
) -> Callable[[Detect], Detect]:
    """Register a function as the detector of one kind of findings; see `Detector`."""

    def register(find: Detect) -> Detect:
        DETECTORS.add(kind)(Detector(find, tuple(unless), summarize))
        return find

    return register


def suspicions(evidence: Evidence) -> list[Finding]:
    """Run all detectors and drop findings that other findings explain."""
    detectors = {kind: DETECTORS.get(kind) for kind in DETECTORS.names()}
    found = {kind: list(each.find(evidence)) for kind, each in detectors.items()}
    remaining: list[Finding] = []
    for kind, each in detectors.items():
        causes = [cause for other in each.unless for cause in found[other]]
        remaining += each.summarize([f for f in found[kind] if not _explained(f, causes)])
    return remaining


def _explained(finding: Finding, causes: Sequence[Finding]) -> bool:
    keys = {key for cause in causes if cause.about == finding.about for key in cause.keys}
    return bool(finding.keys) and keys.issuperset(finding.keys)
