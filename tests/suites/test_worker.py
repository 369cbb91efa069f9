"""Workers run each pending experiment once and stop on signals."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from telepathy.experiments.registry import Registry
from telepathy.experiments.registry.execution import ReceivedSignals
from telepathy.experiments.schedulers.local import run_here, slots, visible_gpus
from telepathy.experiments.schedulers.worker import Worker
from telepathy.experiments.suites import Suite, load_suite
from telepathy.experiments.suites.expansion import Experiment

Make = Callable[..., Experiment]


def _states(registry: Registry) -> dict[str, tuple[str, int]]:
    return {r.name: (r.state, r.attempts) for r in registry.records()}


def test_run_here_runs_everything_once(
    registry: Registry, make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = make("a")
    experiments = [make("b", needs=(first.key,)), first, make("c", "fail")]
    suite = _suite(tmp_path)
    view = run_here(suite, experiments, registry, jobs=2)
    assert view.exit_code == 1 and view.data["states"] == {"completed": 2, "failed": 1}
    assert _states(registry) == {"a": ("completed", 1), "b": ("completed", 1), "c": ("failed", 1)}
    assert registry.find("a").finished_at <= registry.find("b").started_at
    assert registry.find("c").error_class == "out-of-memory"
    assert "c: failed (out-of-memory): MemoryError: too much" in capsys.readouterr().err
    assert max(map(len, view.lines)) <= 80 and any("50.0" in line for line in view.lines)
    run_here(suite, experiments, registry, jobs=1)
    assert _states(registry)["a"] == ("completed", 1) and _states(registry)["c"] == ("failed", 2)


def test_worker_does_not_wait_for_a_failed_need(registry: Registry, make: Make) -> None:
    first = make("a", "fail")
    Worker(registry, [first, make("b", needs=(first.key,))], ReceivedSignals(), lambda _: None).run(
        [None]
    )
    assert _states(registry) == {"a": ("failed", 1)}


def test_workers_share_a_suite(registry: Registry, make: Make) -> None:
    experiments = [make(f"e{i}") for i in range(8)]
    workers = [
        Worker(Registry(registry.store.path), experiments, ReceivedSignals(), print)
        for _ in range(3)
    ]
    threads = [threading.Thread(target=w.run, args=[["0", "1"]]) for w in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(_states(registry).values()) == {("completed", 1)}
    assert {r.gpu for r in registry.records()} <= {"0", "1"}


@pytest.mark.parametrize(("places", "shared"), [([None] * 3, True), (["0", "1"], False)])
def test_worker_runs_benchmarks_alone(
    registry: Registry,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    places: list[str | None],
    shared: bool,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("telepathy.experiments.schedulers.worker.n_cores", lambda: 6)
    names = ["a", "time", "b", "time-again", "c"]
    experiments = [make(name, "nap", alone=name.startswith("time")) for name in names]
    Worker(registry, experiments, ReceivedSignals(), lambda _: None).run(places)
    found = {r.name: r for r in registry.records()}
    assert {r.state for r in found.values()} == {"completed"} and len(found) == 5
    for one in ("time", "time-again"):
        for other in {*names} - {one}:
            apart = (
                found[one].finished_at <= found[other].started_at
                or found[other].finished_at <= found[one].started_at
            )
            assert apart or not (shared or found[one].gpu == found[other].gpu)
    threads = {e.name: json.loads(e.result_file.read_text())["threads"] for e in experiments}
    assert threads["a"] == 6 // len(places)
    assert threads["time"] == (6 if shared else 3)


def test_run_here_stops_on_a_signal_and_resumes(
    registry: Registry, make: Make, tmp_path: Path
) -> None:
    experiments = [make("a", "wait"), make("b")]

    def interrupt() -> None:
        while not any(r.state == "running" for r in registry.records()):
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGUSR1)

    threading.Thread(target=interrupt, daemon=True).start()
    view = run_here(_suite(tmp_path), experiments, registry, jobs=1)
    assert view.exit_code == 75 and view.data["n_due"] == 2
    assert _states(registry) == {"a": ("preempted", 1), "b": ("pending", 0)}


def test_slots_follow_gpus_cores_and_memory(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert visible_gpus() == ["2", "5"]
    assert slots([make("a")]) == ["2", "5"] and slots([make("a")], 3) == ["2", "5", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("telepathy.experiments.schedulers.local.n_cores", lambda: 9)
    monkeypatch.setattr("telepathy.experiments.schedulers.local.free_memory_gb", lambda: 0.35)
    assert slots([make("a")]) == [None] * 3 and slots([make("a")], 1) == [None]
    monkeypatch.setattr("telepathy.experiments.schedulers.local.n_cores", lambda: 2)
    assert slots([make("a")]) == [None]


def _suite(folder: Path) -> Suite:
    text = "name: mine\ntasks: [sst2]\nbridges: {main: {}}\n"
    (folder / "mine.yaml").write_text(text)
    return load_suite(str(folder / "mine.yaml"))
