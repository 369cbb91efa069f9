"""Results reach the remote while others push, and the checkout is not changed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from latentwire.core.errors import UsageError
from telepathy.experiments.config import build_config
from telepathy.experiments.registry import Registry
from telepathy.experiments.schedulers.git_push import Pusher
from telepathy.experiments.suites.expansion import Experiment

INDEX = "runs/experiment_registry.json"


def _git(where: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(
        ["git", "-C", str(where), *who, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def clones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two checkouts of one remote, which ignores runs as the project does."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "a")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "a@b")
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", tmp_path / "remote"], check=True)
    for name in ("one", "two"):
        subprocess.run(
            ["git", "clone", "-q", tmp_path / "remote", tmp_path / name],
            check=True, capture_output=True,
        )  # fmt: skip
        if name == "one":
            _git(tmp_path / name, "checkout", "-q", "-b", "main")
            (tmp_path / name / ".gitignore").write_text(f"/runs/*\n!/{INDEX}\n")
            (tmp_path / name / "code.py").write_text("x = 1\n")
            _git(tmp_path / name, "add", ".")
            _git(tmp_path / name, "commit", "-q", "-m", "start")
            _git(tmp_path / name, "push", "-q", "-u", "origin", "main")
    return tmp_path / "one", tmp_path / "two"


def _complete(clone: Path, name: str) -> Pusher:
    """An experiment that is completed in a checkout, and what pushes it."""
    registry = Registry(clone / INDEX)
    config = build_config({"task.name": "t"})
    record = registry.start(name, config.resolved())
    file = registry.folder(record) / "results.json"
    file.write_text(json.dumps({"name": name}))
    (registry.folder(record) / "weights.bin").write_text("large")
    registry.complete(record, result_file=file)
    experiment = Experiment(name, config, registry.store.runs_dir)
    return Pusher(registry, [experiment], "Results of mine")


def test_push_from_two_machines_loses_nothing(clones: tuple[Path, Path]) -> None:
    one, two = clones
    first, second = _complete(one, "a"), _complete(two, "b")
    assert first.push() and second.push()
    assert {r.name for r in Registry(two / INDEX).records()} == {"a", "b"}
    assert _git(two, "status", "--porcelain") == "" == _git(two, "diff", "origin/main")
    assert _git(one, "log", "--format=%s", "origin/main").splitlines()[0] == "Results of mine"
    assert _git(one, "pull", "-q", "--ff-only") == ""
    assert {r.name for r in Registry(one / INDEX).records()} == {"a", "b"}
    files = _git(one, "ls-files", "runs").splitlines()
    assert len(files) == 3 and not any("weights" in file for file in files)


def test_push_leaves_new_code_to_the_user(clones: tuple[Path, Path]) -> None:
    one, two = clones
    (one / "code.py").write_text("x = 2\n")
    _git(one, "commit", "-q", "-am", "code")
    _git(one, "push", "-q")
    (two / "code.py").write_text("x = 3\n")
    before = _git(two, "rev-parse", "HEAD")
    assert _complete(two, "b").push()
    assert (_git(two, "rev-parse", "HEAD"), (two / "code.py").read_text()) == (before, "x = 3\n")
    assert "x = 2" in _git(two, "show", "origin/main:code.py")
    assert _git(two, "worktree", "list").count("\n") == 0


def test_push_repeats_after_a_race(
    clones: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = clones
    first, second = _complete(one, "a"), _complete(two, "b")
    monkeypatch.setattr("telepathy.experiments.schedulers.git_push.random.uniform", lambda *_: 0)
    fill = second._stage_files

    def late(tree: Path) -> int:
        monkeypatch.setattr(second, "_stage_files", fill)
        assert first.push()  # between fetch and push
        return fill(tree)

    monkeypatch.setattr(second, "_stage_files", late)
    assert second.push()
    assert {r.name for r in Registry(two / INDEX).records()} == {"a", "b"}


def test_push_reports_failures(
    clones: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pusher = _complete(clones[0], "a")
    (tmp_path / "remote").rename(tmp_path / "gone")
    assert not pusher.push() and "warning: not pushed: git fetch" in capsys.readouterr().err
    with pytest.raises(UsageError, match="--push needs"):
        Pusher(Registry(tmp_path / "elsewhere" / "index.json"), [], "x")
