"""Provenance of runs: the state of the source tree."""

from __future__ import annotations

import subprocess
from pathlib import Path

from latentwire.core.provenance import source_tree


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t.example"]
    command = ["git", *identity, *arguments]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_source_tree_is_dirty_by_tracked_files_outside_runs(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    (tmp_path / "runs").mkdir()
    code, index = tmp_path / "code.py", tmp_path / "runs" / "index.json"
    code.write_text("1")
    index.write_text("1")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-qm", "one")
    commit = _git(tmp_path, "rev-parse", "HEAD")[:12]
    index.write_text("2")
    (tmp_path / "new.py").write_text("2")
    found = source_tree(tmp_path)
    assert (found.commit, found.dirty, str(found)) == (commit, False, commit)
    code.write_text("2")
    assert str(source_tree(tmp_path)) == f"{commit}-dirty"


def test_source_tree_outside_git_is_unknown(tmp_path: Path) -> None:
    assert str(source_tree(tmp_path)) == "unknown"
