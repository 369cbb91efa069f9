"""Two processes train what one process trains with their batches put together."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentwire import Task, Wire, train_bridge
from latentwire.errors import REQUEUE
from latentwire.progress import Progress

SETTINGS: dict[str, Any] = {
    "steps": 20,
    "eval_every": 10,
    "warmup_steps": 2,
    "loss": "answer+0.5*kd+0.1*diversity",
    "ema": 0.9,
}

# Run by both processes; what it claims is asserted in each.
_BOTH = """
import os, signal, sys
import torch
from latentwire import Wire, load_task, train_bridge
from latentwire.errors import RequeueError
from latentwire.progress import Progress
from latentwire.train import Processes
from latentwire.train.trainer import Trainer

SETTINGS = %r
torch.set_num_threads(1)
p = Processes.join()
a, b, c = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
a.grad = torch.tensor([1.0, 2.0]) * (p.rank + 1)
b.grad = torch.ones(2) if p.is_first else None  # an expert that one process did not use
p.average_gradients([a, b, c])
assert a.grad.tolist() == [1.5, 3.0] and b.grad.tolist() == [0.5, 0.5] and c.grad is None
buffer = torch.tensor([float(p.rank + 7)])
p.share([buffer])
assert buffer.item() == 7 and p.largest(p.rank) == 1 and p.mean([p.rank, 2]) == [0.5, 2]
assert [t.item() for t in p.gather(torch.tensor([p.rank], dtype=torch.uint8))] == [0, 1]

task = load_task("colours.yaml")
def train(out, loss=SETTINGS["loss"], dropout=0.0, **more):
    wire = Wire.build(pair="fake", soft_tokens=4, layer=2, dropout=dropout)
    settings = {**SETTINGS, "loss": loss, "batch_size": 8, **more}
    train_bridge(wire, task, out, progress=Progress(), **settings)
    return wire

train("two")

# Objectives with parts, dropout, and a signal to the second process alone.
parts = "answer+0.1*mine(features=8)+0.1*domain(features=8)"
noisy = {"loss": parts, "dropout": 0.2, "steps": 8, "eval_every": 4}
whole = train("whole", **noisy)
real = Trainer._step
def stopping(self, step):
    if step == 4 and p.rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return real(self, step)
Trainer._step = stopping
try:
    train("cut", **noisy)
    raise AssertionError("was not stopped")
except RequeueError as error:
    assert "after step 5 of 8" in str(error)
Trainer._step = real
torch.manual_seed(99)
again = train("cut", resume=True, **noisy)
assert again.fingerprint == whole.fingerprint
for value in again.bridge.state_dict().values():
    first, second = p.gather(value)
    assert torch.equal(first, second)

# The command: both processes leave in order, with the code that means: start again.
Trainer._step = stopping
flags = "train --pair fake --task colours.yaml --soft-tokens 4 --layer 2 --steps 9 --out command"
sys.argv = ["latentwire", *flags.split()]
from telepathy.cli import main
main()
"""


def test_two_processes_match_one_and_stop_together(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    own_cache: Path,
    tmp_path: Path,
) -> None:
    task, one = make_task(32), fake_wire(dropout=0.0)
    train_bridge(one, task, tmp_path / "one", batch_size=16, progress=Progress(), **SETTINGS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "LATENTWIRE_CACHE": str(own_cache),
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
    }
    both = [
        subprocess.Popen(
            [sys.executable, "-c", _BOTH % SETTINGS],
            cwd=tmp_path,
            env={**environment, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    ends = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [REQUEUE, REQUEUE], ends
    rows = [_rows(tmp_path / name) for name in ("one", "two")]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]
    for a, b in zip(*rows):
        for key in ("loss", "grad_norm") if "loss" in a else ():
            assert a[key] == pytest.approx(b[key], abs=1e-4)
        if "val" in a:
            assert a["val"]["loss"] == pytest.approx(b["val"]["loss"], abs=1e-4)
    assert _rows(tmp_path / "cut") == _rows(tmp_path / "whole")
    setting = json.loads((tmp_path / "two" / "config.json").read_text())["setting"]
    assert setting["processes"] == 2


def _rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
