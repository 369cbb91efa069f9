"""The index: all records in one JSON file, one per line, so that one change is one line.

    {"format": 1
    ,"sst2_bridge-0123456789ab": {"name": "sst2_bridge", ..}
    }

Each line stands for itself (the comma comes first): git merges lines, a change rewrites one line
without parsing the others, and what is readable of a damaged file stays readable.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from latentwire.core.errors import DataError
from telepathy.experiments.registry.record import Record

_FIRST, _LAST = b'{"format": 1', b"}"
_CONFLICT = (b"<<<<<<<", b"=======", b">>>>>>>", b"|||||||")


class DamagedIndexError(DataError):
    """The index is not what this module writes: it has to be set aside and rebuilt."""


class Index:
    """The lines of an index, sorted by key.

    Args:
        lines: One per record, as in the file.
    """

    def __init__(self, lines: list[bytes]) -> None:
        self.lines = lines

    @classmethod
    def of(cls, records: Iterable[Record]) -> Index:
        """The index of these records, one per key."""
        return cls(sorted(_line(record) for record in records))

    @classmethod
    def read(cls, path: Path) -> Index:
        """The index in a file; empty if there is no file.

        Raises: DamagedIndexError: If the file is cut off or is no index.
        """
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return cls([])
        lines = data.split(b"\n")
        if len(lines) >= 3 and lines[0] == _FIRST and lines[-2:] == [_LAST, b""]:
            lines = lines[1:-2]
            if all(line[:2] == b',"' and line[-1:] == b"}" for line in lines):
                return cls(lines)
        return cls.of(_parse(data))  # an editor may have laid it out anew

    def get(self, key: str) -> Record | None:
        """The record of this key, or None.

        Raises: DamagedIndexError: If its line is no record.
        """
        at = bisect_left(self.lines, _start(key))
        if at == len(self.lines) or not self.lines[at].startswith(_start(key)):
            return None
        return _parse(_text(self.lines[at : at + 1]))[0]

    def has_name(self, name: str) -> bool:
        """Whether there is an experiment of this name, with whatever configuration."""
        at = bisect_left(self.lines, f',"{name}-'.encode())
        key = re.compile(f',"{re.escape(name)}-[0-9a-f]{{12}}": '.encode())
        return any(key.match(line) for line in self.lines[at : at + 1000])

    def put(self, record: Record) -> None:
        """Add a record, or replace the one of its key."""
        at = bisect_left(self.lines, _start(record.key))
        same = at < len(self.lines) and self.lines[at].startswith(_start(record.key))
        self.lines[at : at + same] = [_line(record)]

    def records(self) -> list[Record]:
        """All records, sorted by key.

        Raises: DamagedIndexError: If a line is no record.
        """
        return _parse(_text(self.lines))

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all. Only the holder of its lock may call this.

        The disk is not waited for: after a loss of power the index may be damaged, and is then
        rebuilt from the records, which were waited for.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_bytes(_text(self.lines))
        temporary.replace(path)


def salvage(data: bytes) -> tuple[list[Record], int]:
    """What can be read of a damaged index, both sides of a git conflict included.

    Returns: The records, perhaps several of one key, and how many lines could not be read.
    """
    try:
        return _parse(data), 0
    except DamagedIndexError:
        found: list[Record] = []
        lost = 0
    for line in data.split(b"\n"):
        if line.startswith(_CONFLICT) or line in (_FIRST, _LAST, b""):
            continue
        try:
            found += _parse(_text([line]))
        except DamagedIndexError:
            lost += 1
    return found, lost


def _parse(data: bytes) -> list[Record]:
    try:
        found: dict[str, Any] = json.loads(data)
        version = int(found.pop("format"))
        records = [Record.from_json(value) for value in found.values()] if version == 1 else []
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise DamagedIndexError(f"The registry's index is damaged ({error}).") from error
    if version != 1:
        raise DataError(f"The registry has format {version}, known is 1. Update LatentWire.")
    return records


def _text(lines: list[bytes]) -> bytes:
    return b"\n".join([_FIRST, *lines, _LAST, b""])


def _start(key: str) -> bytes:
    return f',"{key}": '.encode()


def _line(record: Record) -> bytes:
    text = json.dumps(record.to_json(), ensure_ascii=False, allow_nan=False)
    return _start(record.key) + text.encode("utf-8", "replace")
