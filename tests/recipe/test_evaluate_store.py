"""Stored answers are reused only for the training they depend on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from latentwire import Task, Wire, evaluate, train_bridge
from latentwire.core.progress import Progress

SHORT = {"steps": 2, "batch_size": 4, "warmup_steps": 1, "eval_every": 2, "val_limit": 4}


class RecordedProgress(Progress):
    """Keeps its messages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_evaluate_repeats_a_method_after_another_training(
    tmp_path: Path, fake_wire: Callable[..., Wire], make_task: Callable[..., Task]
) -> None:
    wire, task = fake_wire(), make_task(8)
    train_bridge(wire, task, tmp_path / "run", progress=Progress(), **SHORT)

    def methods_run() -> list[str]:
        said = RecordedProgress()
        names = ["linear_probe"]
        evaluate(wire, task, methods=names, timed=0, out_dir=tmp_path / "out", progress=said)
        return [line for line in said.lines if "linear_probe" in line]

    assert methods_run() and not methods_run()
    wire.training = {**wire.training, "train_limit": 6}
    assert methods_run()
