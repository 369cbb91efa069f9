"""The registry's files: an index of all records, and `record.json` in each run's folder.

Every change is made under one lock: first the run's own record, then its line in the index. A
process killed between the two leaves an index that is behind; the next change of the record, or a
rebuild, catches up. Reading takes no lock.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from latentwire.core.errors import DataError, LatentWireError
from latentwire.core.files import write_json
from telepathy.experiments.registry.index import DamagedIndexError, Index, salvage
from telepathy.experiments.registry.merging import merged, union
from telepathy.experiments.registry.record import Record, utc_now

LOCK_SECONDS = 120.0


class LockedError(LatentWireError, TimeoutError):
    """Another process kept the registry's lock for too long."""


@dataclass(frozen=True)
class Gathered:
    """What a rebuild or a merge found.

    Args:
        n_records: Records in the index now.
        added: Keys that the index did not have.
        changed: Keys whose record became newer.
        unreadable: How many lines and record files could not be read.
        set_aside: Where a damaged index was moved, or None.
    """

    n_records: int
    added: list[str]
    changed: list[str]
    unreadable: int
    set_aside: Path | None


class Store:
    """Reads and changes the files. Creating the object touches no disk.

    Args:
        path: The index; run folders lie beside it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.runs_dir = self.path.parent

    def folder(self, key: str) -> Path:
        """Folder of a run."""
        return self.runs_dir / key

    def records(self) -> list[Record]:
        """All records of the index, sorted by key. A damaged index is set aside and rebuilt."""
        try:
            return self.index().records()
        except DamagedIndexError:
            self.gather()
            return self.index().records()

    def index(self) -> Index:
        """The index, unparsed.

        Raises: DamagedIndexError: If it has to be rebuilt: cut off, or gone though there are runs.
        """
        if not self.path.exists() and any(self.runs_dir.glob("*/record.json")):
            raise DamagedIndexError(f"{self.path} is missing.")
        return Index.read(self.path)

    def get(self, key: str) -> Record | None:
        """One record, the newest there is; None if there is none."""
        try:
            known = self.index().get(key)
        except DamagedIndexError:
            self.gather()
            known = self.index().get(key)
        return self.newest(key, known)

    def newest(self, key: str, known: Record | None) -> Record | None:
        """A record of the index, or the one in its run's folder if that is newer."""
        own = self.own_record(key)
        return merged(known, own) if known and own else known or own

    def own_record(self, key: str) -> Record | None:
        """What a run's folder says of it; None without a readable record of that key."""
        try:
            record = read_record(self.folder(key) / "record.json")
        except (FileNotFoundError, DataError):
            return None
        return record if record.key == key else None

    def update(self, key: str, change: Callable[[Record | None], Record]) -> Record:
        """Change one record: `change` makes the new from the old, or raises."""
        return self.update_all([key], lambda _, old: change(old))[0]

    def update_all(
        self, keys: Sequence[str], change: Callable[[str, Record | None], Record]
    ) -> list[Record]:
        """Change several records with one write of the index."""
        with self._lock():
            try:
                index = self.index()
                known = [index.get(key) for key in keys]
            except DamagedIndexError:
                self._gather((), None)
                index = self.index()
                known = [index.get(key) for key in keys]
            olds = [self.newest(key, old) for key, old in zip(keys, known)]
            news = [_next(old, change(key, old)) for key, old in zip(keys, olds)]
            for old, new in zip(olds, news):
                if new is not old:
                    write_json(self.folder(new.key) / "record.json", new.to_json())
                index.put(new)
            index.write(self.path)
        return news

    def gather(self, files: Iterable[Path] = (), runs_dir: Path | None = None) -> Gathered:
        """Make the index from all there is: itself, other indexes, the records of run folders.

        Args:
            files: Indexes of other machines.
            runs_dir: Where to look for run folders; beside the index by default.
        Returns: What was found; a damaged index was set aside, with what it had that is readable
            in the new one.
        """
        with self._lock():
            return self._gather(files, runs_dir)

    def _gather(self, files: Iterable[Path], runs_dir: Path | None) -> Gathered:
        data = self.path.read_bytes() if self.path.exists() else b""
        own, unreadable = salvage(data)
        conflicted = b"\n<<<<<<<" in data or data.startswith(b"<<<<<<<")
        found = list(own)
        for file in files:
            records, lost = salvage(file.read_bytes())
            found += records
            unreadable += lost
        for file in sorted((runs_dir or self.runs_dir).glob("*/record.json")):
            try:
                found.append(read_record(file))
            except DataError:
                unreadable += 1
        before, after = union(own), union(found)
        set_aside = None
        if data and not _readable(data) and (unreadable or not conflicted):
            when = utc_now().replace(":", "")
            set_aside = self.path.with_name(f"{self.path.name}.damaged-{when}")
            shutil.copyfile(self.path, set_aside)  # the index is there at every moment
            print(
                f"warning: {self.path} was damaged. It is kept as {set_aside.name}; a new one was "
                f"made from what is readable of it and the records: {len(after)} experiments.",
                file=sys.stderr,
            )
        Index.of(after.values()).write(self.path)
        return Gathered(
            n_records=len(after),
            added=[key for key in after if key not in before],
            changed=[key for key in after if key in before and after[key] != before[key]],
            unreadable=unreadable,
            set_aside=set_aside,
        )

    @contextmanager
    def _lock(self) -> Iterator[None]:
        from filelock import FileLock, Timeout  # here: readers start without it

        self.runs_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), poll_interval=0.005)
        try:
            lock.acquire(timeout=LOCK_SECONDS)
        except Timeout as error:
            raise LockedError(
                f"Another process has kept {lock.lock_file} locked for {LOCK_SECONDS:.0f} s. Look "
                "for one that hangs (`fuser` on that file names it), end it and try again."
            ) from error
        try:
            yield
        finally:
            lock.release()


def _next(old: Record | None, new: Record) -> Record:
    return new if new is old else replace(new, revision=old.revision + 1 if old else 1)


def read_record(path: Path) -> Record:
    """The record in a file.

    Raises: DataError: If it is none.
    """
    try:
        return Record.from_json(json.loads(path.read_bytes()))
    except ValueError as error:
        raise DataError(f"{path} is no record of an experiment ({error}). Delete it.") from error


def _readable(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return salvage(data)[1] == 0
