"""Registry files: one index of all records, and `record.json` in each run folder.

Every update holds one lock and writes the run's own record first, then its line in the index. A
process killed in between leaves an outdated index line, which the next update of that record or a
rebuild corrects. Reading takes no lock.
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
from telepathy.experiments.registry.index import DamagedIndexError, RegistryIndex, salvage
from telepathy.experiments.registry.merging import merged, union
from telepathy.experiments.registry.record import Record, utc_now

LOCK_SECONDS = 120.0


class LockedError(LatentWireError, TimeoutError):
    """Another process held the registry lock for too long."""


@dataclass(frozen=True)
class RebuildResult:
    """Result of a rebuild or a merge of the index.

    Args:
        n_records: Records in the new index.
        added: Keys that were not in the old index.
        changed: Keys whose record was replaced by a newer one.
        n_unreadable: Lines and record files that could not be read.
        backup: Copy of a damaged index; None if the index was intact.
    """

    n_records: int
    added: list[str]
    changed: list[str]
    n_unreadable: int
    backup: Path | None


class RegistryStore:
    """Reads and updates the registry files. The constructor does not access the disk.

    Args:
        path: Index file; run folders are in the same directory.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.runs_dir = self.path.parent

    def folder(self, key: str) -> Path:
        """Folder of a run."""
        return self.runs_dir / key

    def records(self) -> list[Record]:
        """All records of the index, sorted by key. A damaged index is backed up and rebuilt."""
        try:
            return self.index().records()
        except DamagedIndexError:
            self.rebuild()
            return self.index().records()

    def index(self) -> RegistryIndex:
        """Read the index without parsing its records.

        Raises: DamagedIndexError: If it is truncated, or missing although run records exist.
        """
        if not self.path.exists() and any(self.runs_dir.glob("*/record.json")):
            raise DamagedIndexError(f"{self.path} is missing.")
        return RegistryIndex.read(self.path)

    def get(self, key: str) -> Record | None:
        """Return the newest version of a record; None if there is none."""
        try:
            known = self.index().get(key)
        except DamagedIndexError:
            self.rebuild()
            known = self.index().get(key)
        return self.newest(key, known)

    def newest(self, key: str, known: Record | None) -> Record | None:
        """Return the index record or the record in the run folder, whichever is newer."""
        own = self.own_record(key)
        return merged(known, own) if known and own else known or own

    def own_record(self, key: str) -> Record | None:
        """Read the record in a run folder; None if missing, unreadable or for another key."""
        try:
            record = read_record(self.folder(key) / "record.json")
        except (FileNotFoundError, DataError):
            return None
        return record if record.key == key else None

    def update(self, key: str, change: Callable[[Record | None], Record]) -> Record:
        """Update one record: `change` returns the new record for the old one, or raises."""
        return self.update_all([key], lambda _, old: change(old))[0]

    def update_all(
        self, keys: Sequence[str], change: Callable[[str, Record | None], Record]
    ) -> list[Record]:
        """Update several records with one write of the index."""
        with self._lock():
            try:
                index = self.index()
                known = [index.get(key) for key in keys]
            except DamagedIndexError:
                self._rebuild((), None)
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

    def rebuild(self, files: Iterable[Path] = (), runs_dir: Path | None = None) -> RebuildResult:
        """Rebuild the index from itself, other index files and the records in run folders.

        A damaged index is backed up first; its readable records are kept.

        Args:
            files: Index files of other machines.
            runs_dir: Directory with the run folders; default: the directory of the index.
        """
        with self._lock():
            return self._rebuild(files, runs_dir)

    def _rebuild(self, files: Iterable[Path], runs_dir: Path | None) -> RebuildResult:
        data = self.path.read_bytes() if self.path.exists() else b""
        own, n_unreadable = salvage(data)
        conflicted = b"\n<<<<<<<" in data or data.startswith(b"<<<<<<<")
        found = list(own)
        for file in files:
            records, lost = salvage(file.read_bytes())
            found += records
            n_unreadable += lost
        for file in sorted((runs_dir or self.runs_dir).glob("*/record.json")):
            try:
                found.append(read_record(file))
            except DataError:
                n_unreadable += 1
        before, after = union(own), union(found)
        backup = None
        if data and not _readable(data) and (n_unreadable or not conflicted):
            when = utc_now().replace(":", "")
            backup = self.path.with_name(f"{self.path.name}.damaged-{when}")
            shutil.copyfile(self.path, backup)  # a copy, so that the index never disappears
            print(
                f"warning: {self.path} was damaged and has been rebuilt from its readable lines "
                f"and the run records: {len(after)} experiments. Backup: {backup.name}.",
                file=sys.stderr,
            )
        RegistryIndex.of(after.values()).write(self.path)
        return RebuildResult(
            n_records=len(after),
            added=[key for key in after if key not in before],
            changed=[key for key in after if key in before and after[key] != before[key]],
            n_unreadable=n_unreadable,
            backup=backup,
        )

    @contextmanager
    def _lock(self) -> Iterator[None]:
        from filelock import FileLock, Timeout  # imported here: readers do not need it

        self.runs_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), poll_interval=0.005)
        try:
            lock.acquire(timeout=LOCK_SECONDS)
        except Timeout as error:
            raise LockedError(
                f"Another process has held {lock.lock_file} for {LOCK_SECONDS:.0f} s. Find the "
                "hanging process with `fuser` on that file, end it and try again."
            ) from error
        try:
            yield
        finally:
            lock.release()


def _next(old: Record | None, new: Record) -> Record:
    return new if new is old else replace(new, revision=old.revision + 1 if old else 1)


def read_record(path: Path) -> Record:
    """Read a record file.

    Raises: DataError: If the file is not a record.
    """
    try:
        return Record.from_json(json.loads(path.read_bytes()))
    except ValueError as error:
        raise DataError(
            f"{path} is not an experiment record ({error}). Delete the file."
        ) from error


def _readable(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return salvage(data)[1] == 0
