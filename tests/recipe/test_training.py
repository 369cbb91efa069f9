"""Training: learning, reproducibility, resuming, and failures."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import latentwire.objectives.answer as answer
from latentwire import Task, Wire, train_bridge
from latentwire.core.errors import InterruptedRunError, NonFiniteError, UsageError
from latentwire.core.progress import Progress
from latentwire.train.trainer import Trainer

SETTINGS: dict[str, Any] = {
    "steps": 12,
    "batch_size": 4,
    "eval_every": 4,
    "save_every": 3,
    "warmup_steps": 2,
    "lr": 1e-3,
}


def _weights(wire: Wire) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in wire.bridge.state_dict().items()}


def _equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def finished(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> tuple[Task, dict[str, torch.Tensor]]:
    """Return the task and the final weights of an uninterrupted run."""
    task, wire = make_task(), fake_wire()
    train_bridge(wire, task, tmp_path / "whole", progress=Progress(), **SETTINGS)
    return task, _weights(wire)


def test_training_learns_eight_examples(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    task, wire = make_task(8), fake_wire()
    frozen = [{k: v.clone() for k, v in lm.model.state_dict().items()} for lm in _lms(wire)]
    train_bridge(wire, task, tmp_path / "run", progress=Progress(), steps=80, batch_size=8, lr=5e-3)
    train = list(task.split("train"))
    texts, _ = wire.sender_texts(task, train)
    soft = wire.soft_tokens(wire.sender.encode(texts, wire.spec.layers))
    scores = [torch.tensor(r.scores) for r in wire.respond(task, train, soft)]
    assert all(int(row.argmax()) == example.target for row, example in zip(scores, train))
    for lm, before in zip(_lms(wire), frozen):
        assert _equal(lm.model.state_dict(), before)


def _lms(wire: Wire) -> list[Any]:
    return [wire.sender.lm, wire.receiver.lm]


def test_training_with_the_same_seed_gives_the_same_weights(
    finished: tuple[Task, dict[str, torch.Tensor]],
    fake_wire: Callable[..., Wire],
    tmp_path: Path,
) -> None:
    task, weights = finished
    again, other = fake_wire(), fake_wire(seed=1)
    train_bridge(again, task, tmp_path / "again", progress=Progress(), **SETTINGS)
    assert _equal(_weights(again), weights)
    train_bridge(other, task, tmp_path / "other", progress=Progress(), seed=1, **SETTINGS)
    assert not _equal(_weights(other), weights)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 5, 11])
def test_resumed_training_equals_uninterrupted_training(
    finished: tuple[Task, dict[str, torch.Tensor]],
    fake_wire: Callable[..., Wire],
    tmp_path: Path,
    step: int,
    number: int,
    stop_at: Callable[..., Progress],
) -> None:
    task, weights = finished
    out = tmp_path / "stopped"
    with pytest.raises(InterruptedRunError, match=f"after step {step} of 12.*--resume"):
        train_bridge(fake_wire(), task, out, progress=stop_at(step, number), **SETTINGS)
    wire = fake_wire()
    train_bridge(wire, task, out, resume=True, progress=Progress(), **SETTINGS)
    assert _equal(_weights(wire), weights)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 13))


def test_training_resumes_from_the_last_valid_checkpoint(
    finished: tuple[Task, dict[str, torch.Tensor]],
    fake_wire: Callable[..., Wire],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, weights = finished
    out = tmp_path / "killed"

    class Killed(BaseException):
        pass

    real = Trainer._step

    def step(self: Any, number: int) -> Any:
        if number == 7:
            raise Killed
        return real(self, number)

    monkeypatch.setattr(Trainer, "_step", step)
    with pytest.raises(Killed):
        train_bridge(fake_wire(), task, out, progress=Progress(), **SETTINGS)
    monkeypatch.undo()
    # The newest checkpoint was torn while it was written: the one before counts.
    newest = sorted((out / "checkpoints").iterdir())[-1]
    (newest / "optimiser.safetensors").write_bytes(b"torn")
    wire = fake_wire()
    train_bridge(wire, task, out, resume=True, progress=Progress(), **SETTINGS)
    assert _equal(_weights(wire), weights)


def test_resuming_a_completed_run_changes_nothing(
    finished: tuple[Task, dict[str, torch.Tensor]],
    fake_wire: Callable[..., Wire],
    tmp_path: Path,
) -> None:
    task, weights = finished
    wire = fake_wire()
    train_bridge(wire, task, tmp_path / "whole", resume=True, progress=Progress(), **SETTINGS)
    assert _equal(_weights(wire), weights)


def test_training_refuses_the_folder_of_another_run(
    finished: tuple[Task, dict[str, torch.Tensor]],
    fake_wire: Callable[..., Wire],
    tmp_path: Path,
) -> None:
    task, _ = finished
    out = tmp_path / "whole"
    before = (out / "config.json").read_text()
    with pytest.raises(UsageError, match="already contains a run"):
        train_bridge(fake_wire(), task, out, progress=Progress(), **SETTINGS)
    with pytest.raises(UsageError, match=r"train\.lr: 0\.001 in the run, 0\.5 now"):
        other = {**SETTINGS, "lr": 0.5}
        train_bridge(fake_wire(), task, out, resume=True, progress=Progress(), **other)
    assert (out / "config.json").read_text() == before


def test_training_stops_at_a_loss_that_is_nan(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire, real = fake_wire(), answer.token_mean
    calls = iter(range(100))
    monkeypatch.setattr(
        answer,
        "token_mean",
        lambda *a: real(*a) * (float("nan") if next(calls) == 5 else 1.0),
    )
    with pytest.raises(NonFiniteError, match=r"Step 6: loss is nan.*Lower --lr"):
        train_bridge(wire, make_task(), tmp_path / "run", progress=Progress(), **SETTINGS)
    assert all(torch.isfinite(p).all() for p in wire.bridge.parameters())


def test_training_is_resumable_after_a_full_disk(
    finished: tuple[Task, dict[str, torch.Tensor]],
    fake_wire: Callable[..., Wire],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import latentwire.train.checkpoints as checkpoint
    from latentwire.core.errors import DiskFullError

    task, weights = finished
    out, real = tmp_path / "full", checkpoint.save_file
    calls = iter(range(100))

    def save_file(*args: Any) -> None:
        if next(calls) >= 4:
            raise OSError(28, "No space left on device")
        real(*args)

    monkeypatch.setattr(checkpoint, "save_file", save_file)
    with pytest.raises(DiskFullError, match="No space left"):
        train_bridge(fake_wire(), task, out, progress=Progress(), **SETTINGS)
    monkeypatch.undo()
    assert [p.name for p in (out / "checkpoints").iterdir()] == ["step-0000003"]
    wire = fake_wire()
    train_bridge(wire, task, out, resume=True, progress=Progress(), **SETTINGS)
    assert _equal(_weights(wire), weights)


def test_gradient_accumulation_equals_a_larger_batch(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    task, runs = make_task(), []
    for name, size, parts in (("one", 8, 1), ("two", 4, 2)):
        wire = fake_wire(dropout=0.0)  # its noise depends on how a batch is cut
        settings = {**SETTINGS, "batch_size": size, "grad_accum": parts}
        train_bridge(wire, task, tmp_path / name, progress=Progress(), **settings)
        rows = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        runs.append([json.loads(row)["loss"] for row in rows if "loss" in json.loads(row)])
    assert runs[0] == pytest.approx(runs[1], abs=1e-4)


def test_run_folder_has_the_documented_files(
    finished: tuple[Task, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    out = tmp_path / "whole"
    config = json.loads((out / "config.json").read_text())
    assert config["setting"]["train"]["steps"] == 12
    assert {"versions", "commit", "machine", "threads"} <= config["environment"].keys()
    assert (out / "bridge" / "model.safetensors").is_file()
    assert len(list((out / "checkpoints").iterdir())) == 2
    assert not list(out.rglob("*.pt")) and not list(out.rglob("*.pkl"))
    shutil.rmtree(out)
