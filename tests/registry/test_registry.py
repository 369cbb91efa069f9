"""Registry: states, fingerprints, retry limits, and files that survive kills, damage and merges."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.registry import concurrency, kills
from latentwire.core.errors import UnknownNameError, UsageError
from telepathy.experiments.registry import NotDueError, Registry, failure
from telepathy.experiments.registry.index import salvage
from telepathy.experiments.registry.liveness import current_place
from telepathy.experiments.registry.merging import merged
from telepathy.experiments.registry.record import moved, new_record

ROOT = Path(__file__).parents[2]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "runs" / "experiment_registry.json")


def test_registry_takes_an_experiment_from_new_to_completed(registry: Registry) -> None:
    assert registry.should_run("a").run
    record = registry.start("a", gpu="1")
    assert (record.state, record.attempts, record.gpu) == ("running", 1, "1")
    assert not registry.should_run("a").run
    with pytest.raises(NotDueError, match="running on"):
        registry.start("a", force=True)
    done = registry.complete(record, metrics={"acc": 0.5, "loss": float("nan")})
    assert done.metrics == {"acc": 0.5, "loss": "nan"}
    assert [line["state"] for line in done.history] == ["running", "completed"]
    with pytest.raises(NotDueError, match="completed"):
        registry.start("a")
    with pytest.raises(UsageError, match="cannot become failed"):
        registry.fail(done)
    registry.mark_rerun(["a"], "another seed")
    assert registry.should_run("a").reason == "marked for a re-run: another seed"
    assert registry.start("a").metrics == {}


def test_registry_treats_a_changed_configuration_as_new(registry: Registry) -> None:
    old = registry.complete(registry.start("a", {"lr": 1, "k": 8}), metrics={"acc": 1.0})
    assert not registry.should_run("a", {"k": 8, "lr": 1}).run
    decision = registry.should_run("a", {"lr": 2, "k": 8})
    assert decision.run and decision.reason == "new configuration of a known name"
    new = registry.start("a", {"lr": 2, "k": 8})
    assert new.key != old.key and not new.metrics
    assert registry.find("a").key == new.key
    with pytest.raises(UnknownNameError, match="Did you mean: a"):
        registry.find("aa")


def test_registry_limits_failures_and_preemptions_separately(registry: Registry) -> None:
    for _ in range(3):
        registry.preempt(registry.start("a", max_failures=2, max_preemptions=3))
    with pytest.raises(NotDueError, match="3 of 3 preemptions"):
        registry.start("a")
    for _ in range(2):
        registry.fail(registry.start("b"), exit_code=1)
    with pytest.raises(NotDueError, match="2 of 2 failures"):
        registry.start("b")
    registry.mark_rerun(["a", "b"])
    assert registry.should_run("a").run and registry.should_run("b").run


def test_registry_ignores_reports_of_a_replaced_attempt(registry: Registry) -> None:
    first = registry.start("a")
    registry.fail(first)
    second = registry.start("a")
    with pytest.raises(UsageError, match="started again since attempt 1"):
        registry.complete(first, metrics={"acc": 0.0})
    assert registry.complete(second).state == "completed"


@pytest.mark.parametrize(
    ("error", "code", "log", "kind"),
    [
        ("", 1, ["torch.OutOfMemoryError: CUDA out of memory."], failure.OUT_OF_MEMORY),
        ("", 1, ["RuntimeError: CUDA out of memory. Tried"], failure.OUT_OF_MEMORY),
        ("", -9, [], failure.OUT_OF_MEMORY),
        ("NonFiniteError: loss", 1, ["out of memory"], failure.NAN),
        ("", 75, ["out of memory"], failure.PREEMPTED),
        ("", 124, [], failure.TIMEOUT),
        ("", 1, ["ModuleNotFoundError: No module named 'x'"], failure.IMPORT),
        ("", 1, ["OSError: [Errno 28] No space left on device"], failure.DISK),
        ("", 1, ["latentwire.core.errors.DataError: no rows"], failure.DATA),
        ("", 1, ["loss is nan at step 3"], failure.NAN),
        ("", 1, ["KeyError: 'x'"], failure.UNKNOWN),
    ],
)
def test_classify_finds_the_error_class(error: str, code: int, log: list[str], kind: str) -> None:
    assert failure.classify(error, code, log)[0] == kind


def test_classify_prefers_the_reported_exception_type() -> None:
    found = failure.classify("no rows", 1, ["out of memory"], ["MyError", "DataError", "object"])
    assert found == (failure.DATA, "exception DataError")


def test_registry_reports_a_killed_process_as_stale(registry: Registry) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    registry.start("a", pid=process.pid)
    assert registry.find("a").state == "running"
    process.kill()
    process.wait()
    found = registry.find("a")
    assert found.state == "stale" and "is gone" in found.error
    again = registry.start("a")
    assert [line["state"] for line in again.history] == ["running", "stale", "running"]
    assert again.n_preemptions == 1


def test_liveness_detects_a_reused_process_id(registry: Registry) -> None:
    here = current_place()
    record = moved(new_record("a"), "running", **{**here, "pid_started": "before:1"})
    assert registry.current([record])[0].state == "stale"


def test_liveness_expects_heartbeats_of_other_hosts(registry: Registry) -> None:
    record = moved(new_record("a"), "running", host="elsewhere")
    assert registry.current([record])[0].state == "running"
    silent = moved(new_record("a"), "running", host="elsewhere", heartbeat_at="2020-01-01T0")
    assert registry.current([silent])[0].state == "stale"


def test_store_loses_no_concurrent_update(tmp_path: Path) -> None:
    assert concurrency(tmp_path / "r" / "experiment_registry.json", 4, 20)["n_lost"] == 0


def test_store_survives_kills(tmp_path: Path) -> None:
    assert kills(tmp_path / "r" / "experiment_registry.json", 15)["n_unreadable"] == 0


@pytest.mark.parametrize("damage", ["cut", "empty", "missing", "garbage"])
def test_store_backs_up_and_rebuilds_a_damaged_index(
    registry: Registry, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        registry.add(name)
    path = registry.store.path
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": data[:-40], "empty": b"", "garbage": b"\x00" * 99}[damage])
    registry.add("d")
    assert [r.name for r in registry.records()] == ["a", "b", "c", "d"]
    if damage in ("cut", "garbage"):
        (kept,) = path.parent.glob("*.damaged-*")
        assert kept.name in capsys.readouterr().err


def test_merged_prefers_the_higher_revision_to_the_later_time() -> None:
    old = moved(new_record("a", updated_at="2090-01-01T00:00:00.000000Z", revision=1), "running")
    new = moved(moved(new_record("a"), "running"), "failed", revision=3)
    assert merged(old, new).state == merged(new, old).state == "failed"
    assert merged(old, new) == merged(new, old)
    assert len(merged(old, new).history) == 3


@pytest.mark.parametrize("driver", [True, False])
def test_merge_driver_and_rebuild_unite_two_clones(
    tmp_path: Path, driver: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(folder: Path, *arguments: str, check: bool = True) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@t.example"]
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=check, capture_output=True)

    a, b = tmp_path / "a", tmp_path / "b"
    a.mkdir()
    git(a, "init", "-q", "-b", "main")
    shutil.copy(ROOT / ".gitattributes", a)
    one = Registry(a / "runs" / "experiment_registry.json")
    shared = one.start("shared")
    git(a, "add", ".gitattributes", "runs/experiment_registry.json")
    git(a, "commit", "-qm", "start")
    git(tmp_path, "clone", "-q", str(a), str(b))
    two = Registry(b / "runs" / "experiment_registry.json")
    one.complete(shared, metrics={"acc": 1.0})
    one.add("only-a")
    two.add("only-b")
    two.add("shared", max_failures=9)
    for folder in (a, b):
        git(folder, "commit", "-qam", "runs")
    if driver:
        # The command from the documentation, with the packages next to the registry.
        for package in ("latentwire", "telepathy"):
            (b / package).symlink_to(ROOT / package)
        text = (ROOT / "docs" / "experiments.md").read_text()
        (command,) = re.findall(r"git config (merge\S+driver) \\\n +'(.+)'", text)
        git(b, "config", *command)
        monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    git(b, "pull", "-q", "--no-rebase", check=driver)
    if not driver:
        assert b"<<<<<<<" in two.store.path.read_bytes()
        two.store.rebuild()
    assert [r.name for r in two.store.records()] == ["only-a", "only-b", "shared"]
    assert two.store.records()[2].state == "completed"
    assert salvage(two.store.path.read_bytes())[1] == 0
    assert not list(two.store.runs_dir.glob("*.damaged-*"))


def test_heartbeat_leaves_the_index_unchanged(registry: Registry) -> None:
    record = registry.start("a")
    before = registry.store.path.read_bytes()
    time.sleep(0.01)
    registry.heartbeat(record)
    assert registry.store.path.read_bytes() == before
    assert registry.find("a").heartbeat_at > record.heartbeat_at
