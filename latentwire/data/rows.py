"""Random access to the rows of a data file on disk, with constant memory.

JSON Lines, CSV and parquet files are converted once into an Arrow file in the cache, with one
JSON text per row, so that no types are guessed (a date stays text). The Arrow file is read in
small batches instead of memory-mapped, so that memory use stays constant when all rows are read.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from latentwire.core.errors import DataError
from latentwire.core.files import cache_dir, fingerprint, replacing_file

Row = Mapping[str, Any]
FORMATS = ("jsonl", "parquet", "csv")
_BATCH = 256


class Rows(Protocol):
    """Sequence of rows."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


class ArrowRows:
    """Rows of a cached Arrow file.

    Args:
        path: File written by `open_rows`. All batches except the last have the same length.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._reader = pa.ipc.open_file(pa.OSFile(str(path)))
        self._n_batches: int = self._reader.num_record_batches
        self._current: tuple[int, Any] = (-1, None)
        last = len(self._texts(self._n_batches - 1)) if self._n_batches else 0
        self._length: int = max(self._n_batches - 1, 0) * _BATCH + last

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int, /) -> Row:
        batch, place = divmod(index, _BATCH)
        return _parse(self._texts(batch)[place].as_py())

    def __iter__(self) -> Iterator[Row]:
        for batch in range(self._n_batches):
            for text in self._reader.get_batch(batch).column(0):
                yield _parse(text.as_py())

    def _texts(self, batch: int) -> Any:
        current = self._current
        if current[0] != batch:
            current = self._current = (batch, self._reader.get_batch(batch).column(0))
        return current[1]


def open_rows(path: Path) -> ArrowRows:
    """Open a .jsonl, .parquet or .csv file.

    Raises: DataError: If the file does not exist, has another format or an invalid line, or if
        the cache folder is not writable.
    """
    if path.suffix[1:] not in FORMATS:
        raise DataError(f"Cannot read {path}: allowed formats are .{', .'.join(FORMATS)}.")
    if not path.is_file():
        raise DataError(f"Data file not found: {path}")
    state = path.stat()
    key = fingerprint(str(path.resolve()), state.st_size, state.st_mtime_ns, "rows-1")
    cached = cache_dir() / "data" / f"{path.stem}-{key}.arrow"
    if not cached.is_file():
        try:
            with replacing_file(cached) as temporary:
                _convert(_json_texts(path), temporary)
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise DataError(
                f"Cannot write to the cache folder {cached.parent}: {error.strerror}. "
                "Set LATENTWIRE_CACHE to a writable folder."
            ) from error
    return ArrowRows(cached)


def read_csv(path: Path, errors: str = "strict") -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file with a header line.

    Args:
        path: CSV file in UTF-8.
        errors: Handling of encoding errors, as in `open`.
    Raises: DataError: If a line has more cells than the header; the message names the line.
    """
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", errors=errors, newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            if None in row:
                raise DataError(f"{path} line {reader.line_num} has more cells than the header")
            yield row


def _convert(texts: Iterator[str], target: Path) -> None:
    import pyarrow as pa

    schema = pa.schema([("row", pa.large_string())])
    with pa.ipc.new_file(str(target), schema) as writer:
        while batch := list(islice(texts, _BATCH)):
            writer.write_batch(pa.record_batch([pa.array(batch, pa.large_string())], schema=schema))


def _json_texts(path: Path) -> Iterator[str]:
    try:
        if path.suffix == ".jsonl":
            yield from _jsonl_texts(path)
        elif path.suffix == ".csv":
            yield from map(_dump, read_csv(path))
        else:
            yield from _parquet_texts(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error}). Convert it to UTF-8.") from error


def _jsonl_texts(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path} line {number} is not valid JSON: {error}") from error
            if not isinstance(row, dict):
                raise DataError(f"{path} line {number} is not a JSON object")
            yield line.strip()


def _parquet_texts(path: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                yield from map(_dump, batch.to_pylist())
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is not a valid parquet file: {error}") from error


def _dump(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, default=str)


def _parse(text: str) -> Row:
    row: Row = json.loads(text)
    return row
