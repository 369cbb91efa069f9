"""Two copies of the registry become one: the union, per experiment the newer record."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from telepathy.experiments.registry.index import Index, salvage
from telepathy.experiments.registry.record import Record


def merged(a: Record, b: Record) -> Record:
    """The newer of two records of one experiment, with the history of both.

    Newer is the one with more revisions. Clocks of two machines differ, so time decides only
    between equals, and the text between equal times: the order of `a` and `b` never matters.
    """
    newer = max(a, b, key=lambda r: (r.revision, r.updated_at, r.heartbeat_at, _text(r)))
    if a.history == b.history:
        return newer
    lines = {json.dumps(line, sort_keys=True): line for line in [*a.history, *b.history]}
    history = [lines[text] for text in sorted(lines, key=lambda t: (lines[t].get("at", ""), t))]
    return replace(newer, history=history)


def union(records: Iterable[Record]) -> dict[str, Record]:
    """All records by key; of several with one key, what `merged` makes of them."""
    found: dict[str, Record] = {}
    for record in records:
        known = found.get(record.key)
        found[record.key] = merged(known, record) if known else record
    return found


def merge_files(ours: Path, theirs: Path) -> int:
    """Git's merge driver: `ours` becomes the union of both files. Gives the number of records.

    The common ancestor is not needed: no record is ever taken away. A line that cannot be read is
    left out; the commit it came from has it still.
    """
    found = union(r for path in (ours, theirs) for r in salvage(path.read_bytes())[0])
    Index.of(found.values()).write(ours)
    return len(found)


def _text(record: Record) -> str:
    return json.dumps(record.to_json(), sort_keys=True)
