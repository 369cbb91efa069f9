"""Consistency checks of index, run records and running processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from latentwire.core.errors import DataError
from telepathy.experiments.registry.index import salvage
from telepathy.experiments.registry.merging import merged
from telepathy.experiments.registry.record import COMPLETED, STALE, Record, fingerprint_of
from telepathy.experiments.registry.registry import Registry
from telepathy.experiments.registry.store import RegistryStore, read_record


@dataclass(frozen=True)
class Problem:
    """An inconsistency of one experiment and its remedy."""

    key: str
    problem: str
    remedy: str


def find_problems(registry: Registry) -> tuple[int, list[Problem]]:
    """Compare the index with the records in run folders, and running records with the machine.

    Nothing is changed, not even a damaged index.

    Returns: The number of experiments and the problems found.
    """
    store = registry.store
    data = store.path.read_bytes() if store.path.exists() else b""
    records, n_unreadable = salvage(data) if data else ([], 0)
    known = {r.key: r for r in records}
    problems = []
    if n_unreadable or len(known) < len(records):
        what = f"{n_unreadable} unreadable lines" if n_unreadable else "unresolved git conflict"
        problems.append(Problem(store.path.name, what, "run --merge"))
    problems += _outdated(store, known)
    problems += _inconsistent(registry.current(known.values()))
    return len(known), problems


def _outdated(store: RegistryStore, known: dict[str, Record]) -> Iterator[Problem]:
    for file in sorted(store.runs_dir.glob("*/record.json")):
        try:
            own = read_record(file)
        except DataError as error:
            yield Problem(file.parent.name, str(error), "delete the file")
            continue
        indexed = known.get(own.key)
        if indexed is None or merged(indexed, own).revision > indexed.revision:
            yield Problem(
                own.key, "the index is older than the run's record", "run --rebuild-registry"
            )


def _inconsistent(records: list[Record]) -> Iterator[Problem]:
    for record in records:
        if record.fingerprint != fingerprint_of(record.config):
            yield Problem(
                record.key, "its configuration was edited", "restore it or add a new experiment"
            )
        if record.state == STALE:
            yield Problem(record.key, record.error, "start it again or run --mark-rerun")
        elif record.state == COMPLETED and not record.metrics and not record.result_file:
            yield Problem(record.key, "completed without results", "run --mark-rerun")
