"""Training runs that are stopped and resumed give the results of uninterrupted runs."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import latentwire.train.validation as validation
import latentwire.train.warm_start as warm_start
from latentwire import Task, Wire, train_bridge
from latentwire.core.errors import REQUEUE, InterruptedRunError, RequeueError
from latentwire.core.progress import Progress
from latentwire.core.run_folder import RunFolder
from latentwire.models.state_cache import StateCache
from latentwire.train.signals import catch_signals

# Dropout, averaged weights, noise on the message, a critic with a moving average: all have state.
SETTINGS: dict[str, Any] = {
    "steps": 24,
    "batch_size": 4,
    "grad_accum": 2,
    "eval_every": 5,
    "save_every": 7,
    "warmup_steps": 2,
    "loss": "answer+0.1*mine(features=8)+0.01*vib",
    "ema": 0.9,
    "patience": 9,
    "seed": 3,
}


def test_training_stopped_at_random_steps_ends_with_equal_weights(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    tmp_path: Path,
    stop_at: Callable[..., Progress],
) -> None:
    task, whole = make_task(), fake_wire(seed=3)
    train_bridge(whole, task, tmp_path / "whole", progress=Progress(), **SETTINGS)
    out, done = tmp_path / "stopped", 0
    stops = sorted(random.Random(0).sample(range(1, 24), 5))
    signals = [signal.SIGTERM, signal.SIGUSR1]
    for turn, step in enumerate(stops):
        progress = stop_at(step - done, signals[turn % 2])
        with pytest.raises(RequeueError, match=f"after step {step} of 24") as caught:
            train_bridge(
                fake_wire(seed=3), task, out, resume=turn > 0, progress=progress, **SETTINGS
            )
        assert caught.value.exit_code == REQUEUE == 75
        torch.manual_seed(turn)  # whatever a new process starts with
        done = step
    wire = fake_wire(seed=3)
    train_bridge(wire, task, out, resume=True, progress=Progress(), **SETTINGS)
    assert wire.fingerprint == whole.fingerprint
    logs = [(tmp_path / n / "metrics.jsonl").read_text().splitlines() for n in ("whole", "stopped")]
    assert [json.loads(line) for line in logs[0]] == [json.loads(line) for line in logs[1]]


@pytest.mark.parametrize("step", [4, 8])
def test_training_repeats_an_interrupted_validation(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    settings = {"steps": 8, "batch_size": 4, "eval_every": 4, "init": "fresh"}
    task, whole = make_task(), fake_wire()
    train_bridge(whole, task, tmp_path / "whole", progress=Progress(), **settings)
    real, calls = validation._sums, iter(range(9))

    def sums(*arguments: Any) -> Any:
        if next(calls) == step // 4 - 1:
            os.kill(os.getpid(), signal.SIGTERM)  # in the middle of this validation
        return real(*arguments)

    monkeypatch.setattr(validation, "_sums", sums)
    out = tmp_path / "stopped"
    with pytest.raises(RequeueError, match=f"after step {step} of 8"):
        train_bridge(fake_wire(), task, out, progress=Progress(), **settings)
    monkeypatch.undo()
    wire = fake_wire()
    done = train_bridge(wire, task, out, resume=True, progress=Progress(), **settings)
    assert wire.fingerprint == whole.fingerprint and done.best["step"] in (4, 8)
    logs = [(tmp_path / n / "metrics.jsonl").read_text() for n in ("whole", "stopped")]
    assert logs[0] == logs[1]


def test_training_keeps_states_computed_before_a_stop(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    tmp_path: Path,
    stop_at: Callable[..., Progress],
) -> None:
    task, wire = make_task(32), fake_wire()
    settings = {"steps": 2, "batch_size": 4}
    with pytest.raises(RequeueError, match=r"sender states.*--resume"):
        progress = stop_at(16, title="sender states")
        train_bridge(wire, task, tmp_path / "run", progress=progress, **settings)
    texts, _ = wire.sender_texts(task, list(task.split("train")) + list(task.split("val")))
    cache = StateCache(wire.sender, wire.spec.layers)
    assert cache.ensure(texts) == len({*texts}) - 16
    train_bridge(wire, task, tmp_path / "run", resume=True, progress=Progress(), **settings)


def test_catch_signals_keeps_the_kind_of_the_first_signal() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with catch_signals() as stop:
        assert not stop()
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_training_stopped_by_ctrl_c_is_not_requeued(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    tmp_path: Path,
    stop_at: Callable[..., Progress],
) -> None:
    with pytest.raises(InterruptedRunError) as caught:
        train_bridge(
            fake_wire(),
            make_task(8),
            tmp_path / "run",
            progress=stop_at(1, signal.SIGINT),
            steps=3,
            batch_size=4,
        )
    assert caught.value.exit_code == 130 and not isinstance(caught.value, RequeueError)


def test_warm_start_is_computed_once(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_at: Callable[..., Progress],
) -> None:
    settings: dict[str, Any] = {"steps": 6, "batch_size": 4, "save_every": 2, "init": "ridge"}
    task, whole, out = make_task(), fake_wire(), tmp_path / "run"
    train_bridge(whole, task, tmp_path / "whole", progress=Progress(), **settings)
    real, calls = warm_start.fit_ridge_start, []

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return real(*arguments)

    monkeypatch.setattr(warm_start, "fit_ridge_start", counted)
    with pytest.raises(RequeueError):
        train_bridge(fake_wire(), task, out, progress=stop_at(3), **settings)
    wire = fake_wire()
    train_bridge(wire, task, out, resume=True, progress=Progress(), **settings)
    assert len(calls) == 1
    assert wire.fingerprint == whole.fingerprint and wire.prompts == whole.prompts

    # A damaged one is found again; so is one that is not asked for.
    RunFolder(out).warm_start.joinpath("model.safetensors").write_bytes(b"torn")
    train_bridge(fake_wire(), task, out, resume=True, progress=Progress(), **settings)
    train_bridge(fake_wire(), task, out, overwrite=True, progress=Progress(), **settings)
    assert len(calls) == 3
