"""The registry index: one JSON file with one record per line.

    {"format": 1
    ,"sst2_bridge-0123456789ab": {"name": "sst2_bridge", ..}
    }

The comma comes first, so lines do not depend on each other: git merges line by line, an update
rewrites one line without parsing the others, and intact lines of a damaged file remain readable.
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
    """The index file is damaged or missing and must be rebuilt."""


class RegistryIndex:
    """The lines of an index file, sorted by key.

    Args:
        lines: One line per record, as in the file.
    """

    def __init__(self, lines: list[bytes]) -> None:
        self.lines = lines

    @classmethod
    def of(cls, records: Iterable[Record]) -> RegistryIndex:
        """Build an index from records with distinct keys."""
        return cls(sorted(_line(record) for record in records))

    @classmethod
    def read(cls, path: Path) -> RegistryIndex:
        """Read an index file; a missing file is an empty index.

        Raises: DamagedIndexError: If the file is truncated or not an index.
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
        return cls.of(_parse(data))  # possibly reformatted by an editor

    def get(self, key: str) -> Record | None:
        """Return the record with this key, or None.

        Raises: DamagedIndexError: If its line is not a record.
        """
        at = bisect_left(self.lines, _start(key))
        if at == len(self.lines) or not self.lines[at].startswith(_start(key)):
            return None
        return _parse(_text(self.lines[at : at + 1]))[0]

    def has_name(self, name: str) -> bool:
        """Whether any configuration of this experiment name is in the index."""
        at = bisect_left(self.lines, f',"{name}-'.encode())
        key = re.compile(f',"{re.escape(name)}-[0-9a-f]{{12}}": '.encode())
        return any(key.match(line) for line in self.lines[at : at + 1000])

    def put(self, record: Record) -> None:
        """Add a record, replacing the one with the same key."""
        at = bisect_left(self.lines, _start(record.key))
        same = at < len(self.lines) and self.lines[at].startswith(_start(record.key))
        self.lines[at : at + same] = [_line(record)]

    def records(self) -> list[Record]:
        """Parse all records, sorted by key.

        Raises: DamagedIndexError: If a line is not a record.
        """
        return _parse(_text(self.lines))

    def write(self, path: Path) -> None:
        """Replace the file atomically. The caller must hold the registry lock.

        The file is not fsynced. If a power failure damages it, it is rebuilt from the run records,
        which are fsynced.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_bytes(_text(self.lines))
        temporary.replace(path)


def salvage(data: bytes) -> tuple[list[Record], int]:
    """Recover the records of a damaged index, including both sides of a git conflict.

    Returns: The records (keys may repeat) and the number of unreadable lines.
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
        raise DamagedIndexError(f"The registry index is damaged ({error}).") from error
    if version != 1:
        raise DataError(f"Unsupported registry format {version}, expected 1. Update LatentWire.")
    return records


def _text(lines: list[bytes]) -> bytes:
    return b"\n".join([_FIRST, *lines, _LAST, b""])


def _start(key: str) -> bytes:
    return f',"{key}": '.encode()


def _line(record: Record) -> bytes:
    text = json.dumps(record.to_json(), ensure_ascii=False, allow_nan=False)
    return _start(record.key) + text.encode("utf-8", "replace")
