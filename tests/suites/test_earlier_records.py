"""Records of versions whose experiments were shell commands: readable, and never run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from telepathy.experiments.config import build_config
from telepathy.experiments.registry import Registry
from telepathy.experiments.registry.execution import ReceivedSignals
from telepathy.experiments.registry.record import fingerprint_of, key_of
from telepathy.experiments.schedulers.local import run_here
from telepathy.experiments.schedulers.worker import Worker
from telepathy.experiments.suites import Experiment, Suite, expand, load_suite
from telepathy.experiments.suites.earlier_records import executable_config, records_of
from telepathy.experiments.suites.summary import plan

_SUITE = """\
name: mine
tasks: [sst2]
settings: {pair: fake, steps: 5}
baselines: {all: {methods: [bridge, zero], seeds: [0, 1]}}
bridges: {main: {bridge: [mlp], soft_tokens: [4]}}
benchmarks: {cost: {kinds: [latency], of: all, options: {batch_sizes: "1", rounds: 2}}}
"""
_SETTINGS = {"task": "sst2", "task_version": 1, "pair": "fake", "steps": 5}
_BRIDGE = {"kind": "bridge", "bridge": "mlp", "soft_tokens": 4, "seed": 0} | _SETTINGS
_BRIDGE["methods"] = "bridge,zero,random,shuffled"
_ALL = {"kind": "baselines", "bridge": "perceiver", "soft_tokens": 8, "seeds": "0,1"} | _SETTINGS
_ALL["methods"] = "bridge,zero"
_BENCH = {"kind": "benchmark", "task": "sst2", "task_version": 1, "benchmark": "latency"}
_BENCH |= {"of": "mine.sst2.all-0123456789ab/sst2/seed-0", "batch_sizes": "1", "rounds": 2}


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    (tmp_path / "mine.yaml").write_text(_SUITE)
    return load_suite(str(tmp_path / "mine.yaml"))


def _earlier(registry: Registry, name: str, config: dict[str, Any], state: str) -> None:
    """Write the record of an earlier version into the index."""
    record = {
        "name": name,
        "fingerprint": fingerprint_of(config),
        "state": state,
        "revision": 3,
        "config": config,
        "command": ["sh", "-c", "latentwire train --task sst2 && latentwire eval --run x"],
        "attempts": 2,
        "n_failures": 2 if state == "failed" else 0,
        "metrics": {"bridge": {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 9}},
    }
    folder = registry.store.runs_dir / key_of(name, record["fingerprint"])
    folder.mkdir(parents=True)
    record["result_file"] = str(folder / "sst2" / "results.json")
    (folder / "record.json").write_text(json.dumps(record))
    registry.store.rebuild()


def test_completed_and_given_up_ones_are_not_run_again(suite: Suite, registry: Registry) -> None:
    _earlier(registry, "mine.sst2.mlp.k4.s0", _BRIDGE, "completed")
    _earlier(registry, "mine.sst2.all", _ALL, "failed")
    _earlier(registry, "mine.sst2.bench-latency", _BENCH, "completed")
    before = registry.records()
    experiments = expand(suite, registry.store.runs_dir)
    assert plan(suite, experiments, registry).data["n_due"] == 0
    view = run_here(suite, experiments, registry, jobs=1)
    assert view.data["states"] == {"completed": 2, "failed": 1} and view.data["n_due"] == 0
    assert registry.records() == before
    assert {tuple(r.command[:2]) for r in before} == {("sh", "-c")}


@pytest.mark.parametrize(
    ("change", "state"),
    [({"steps": 6}, "completed"), ({"lr": 0.001}, "completed"), ({}, "preempted")],
)
def test_other_or_unfinished_ones_are_run_under_the_new_key(
    suite: Suite, registry: Registry, change: dict[str, Any], state: str
) -> None:
    _earlier(registry, "mine.sst2.mlp.k4.s0", _BRIDGE | change, state)
    (experiment,) = (e for e in expand(suite, registry.store.runs_dir) if "mlp" in e.name)
    Worker(registry, [experiment], ReceivedSignals(), print).run([None])
    earlier, new = sorted(registry.records(), key=lambda r: r.created_at)
    assert earlier.state == state and earlier.attempts == 2
    assert new.key == experiment.key and new.attempts == 1


def test_a_default_of_then_is_kept(
    suite: Suite, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    _earlier(registry, "mine.sst2.mlp.k4.s0", _BRIDGE, "completed")
    (known,) = (e for e in expand(suite, registry.store.runs_dir) if "mlp" in e.name)
    assert records_of([known], registry.records())
    changed = build_config(known.config.model_dump(), {"train.lr": 0.1})
    other = Experiment(known.name, changed, known.runs_dir)
    assert not records_of([other], registry.records())


def test_a_benchmark_measures_the_run_of_an_earlier_record(
    suite: Suite, registry: Registry
) -> None:
    _earlier(registry, "mine.sst2.all", _ALL, "completed")
    experiments = expand(suite, registry.store.runs_dir)
    bench = experiments[-1]
    config = executable_config(bench, records_of(experiments, registry.records()))
    key = key_of("mine.sst2.all", fingerprint_of(_ALL))
    assert config.benchmark is not None and config.benchmark.run == f"{key}/sst2/seed-0"
