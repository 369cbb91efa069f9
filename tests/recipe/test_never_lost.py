"""A run that is asked to stop goes on as if it had never been asked."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import latentwire.train.validation as validation
from latentwire import Task, Wire, train_bridge
from latentwire.errors import REQUEUE, InterruptedRunError, RequeueError
from latentwire.models.states import StateCache
from latentwire.progress import Progress
from latentwire.train.stopping import stop_requests

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


class _StopAt(Progress):
    """Sends this process a signal when a piece of work has come so far."""

    def __init__(self, title: str, n: int, number: int) -> None:
        self.title, self.left, self.number = title, n, number
        self.open = False

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Progress]:
        before, self.open = self.open, title == self.title
        yield self
        self.open = before

    def advance(self, n: int = 1, note: str = "") -> None:
        if self.open and self.left > 0:
            self.left -= n
            if self.left <= 0:
                os.kill(os.getpid(), self.number)


def test_stopped_at_five_random_steps_ends_bit_equal(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    task, whole = make_task(), fake_wire(seed=3)
    train_bridge(whole, task, tmp_path / "whole", progress=Progress(), **SETTINGS)
    out, done = tmp_path / "stopped", 0
    stops = sorted(random.Random(0).sample(range(1, 24), 5))
    signals = [signal.SIGTERM, signal.SIGUSR1]
    for turn, step in enumerate(stops):
        progress = _StopAt("training", step - done, signals[turn % 2])
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
def test_a_validation_is_left_and_made_up_for(
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


def test_a_stop_while_states_are_computed_keeps_them(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    task, wire = make_task(32), fake_wire()
    settings = {"steps": 2, "batch_size": 4}
    with pytest.raises(RequeueError, match=r"sender states.*--resume"):
        progress = _StopAt("sender states", 16, signal.SIGTERM)
        train_bridge(wire, task, tmp_path / "run", progress=progress, **settings)
    texts, _ = wire.sender_texts(task, list(task.split("train")) + list(task.split("val")))
    cache = StateCache(wire.sender, wire.spec.layers)
    assert cache.ensure(texts) == len({*texts}) - 16
    train_bridge(wire, task, tmp_path / "run", resume=True, progress=Progress(), **settings)


def test_who_asked_decides_and_repeated_signals_do_no_harm() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_requests() as stop:
        assert not stop()
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_is_no_requeue(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    with pytest.raises(InterruptedRunError) as caught:
        train_bridge(
            fake_wire(),
            make_task(8),
            tmp_path / "run",
            progress=_StopAt("training", 1, signal.SIGINT),
            steps=3,
            batch_size=4,
        )
    assert caught.value.exit_code == 130 and not isinstance(caught.value, RequeueError)
