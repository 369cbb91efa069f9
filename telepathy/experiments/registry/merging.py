"""Merge copies of the registry: the union of all experiments, each with its newer record."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from telepathy.experiments.registry.index import RegistryIndex, salvage
from telepathy.experiments.registry.record import Record


def merged(a: Record, b: Record) -> Record:
    """Return the newer of two records of one experiment, with the history of both.

    The record with the higher revision is newer. Machine clocks differ, so timestamps only break
    ties between equal revisions, and the JSON text breaks the remaining ties. The result does not
    depend on the order of `a` and `b`.
    """
    newer = max(a, b, key=lambda r: (r.revision, r.updated_at, r.heartbeat_at, _text(r)))
    if a.history == b.history:
        return newer
    lines = {json.dumps(line, sort_keys=True): line for line in [*a.history, *b.history]}
    history = [lines[text] for text in sorted(lines, key=lambda t: (lines[t].get("at", ""), t))]
    return replace(newer, history=history)


def union(records: Iterable[Record]) -> dict[str, Record]:
    """Index records by key, merging those that share one."""
    found: dict[str, Record] = {}
    for record in records:
        known = found.get(record.key)
        found[record.key] = merged(known, record) if known else record
    return found


def merge_files(ours: Path, theirs: Path) -> int:
    """Git merge driver: write the union of both index files to `ours`; return the record count.

    The common ancestor is not needed because records are never deleted. Unreadable lines are
    dropped; the commits they came from still contain them.
    """
    found = union(r for path in (ours, theirs) for r in salvage(path.read_bytes())[0])
    RegistryIndex.of(found.values()).write(ours)
    return len(found)


def _text(record: Record) -> str:
    return json.dumps(record.to_json(), sort_keys=True)
