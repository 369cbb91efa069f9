"""Files and folders are written atomically."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from latentwire.core.errors import DiskFullError
from latentwire.core.files import fingerprint, replacing_dir, replacing_file, write_json, write_text


def test_replacing_file_keeps_the_old_file_on_failure(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_replacing_dir_keeps_the_old_folder_on_failure(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with replacing_dir(path) as temporary:
        (temporary / "x").write_text("old")
    with pytest.raises(RuntimeError), replacing_dir(path) as temporary:
        (temporary / "x").write_text("half")
        raise RuntimeError
    with replacing_dir(path) as temporary:
        (temporary / "y").write_text("new")
    assert [p.name for p in path.iterdir()] == ["y"]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    "failure",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("... (os error 28)")],
)
def test_replacing_file_explains_a_full_disk(tmp_path: Path, failure: Exception) -> None:
    with (
        pytest.raises(DiskFullError, match="No space left on device while writing"),
        replacing_file(tmp_path / "a.txt"),
    ):
        raise failure
    assert not list(tmp_path.iterdir())


def test_write_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_fingerprint_depends_on_values_not_order() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
