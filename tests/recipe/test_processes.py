"""Training in two processes equals training in one process with their joined batches."""

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
import torch

from latentwire import Task, Wire, load_task, train_bridge
from latentwire.core.errors import REQUEUE
from latentwire.core.progress import Progress

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
from latentwire.core.errors import RequeueError
from latentwire.core.progress import Progress
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
p.broadcast([buffer])
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
from telepathy.cli.main import main
main()
"""


_SHARDED: dict[str, Any] = {
    "steps": 10,
    "eval_every": 5,
    "warmup_steps": 2,
    "loss": "answer+0.5*kd+0.5*kd_sender(temperature=2)+0.1*reconstruction(tokens=8)",
    "init": "fresh",
}

_ANSWERS = """\
name: answers
version: 1
kind: choice
metric: acc
source:
  files: {train: answers_train.jsonl, val: answers_val.jsonl, test: answers_test.jsonl}
splits: {train: train, val: val, test: test}
example: {context: "{text}", choices: choices, target: answer}
prompts:
  - "{context}\\nAnswer:"
  - "Text: {context}\\nIt is"
  - "{context}\\nSo:"
relay_prompts:
  - "Note: {context}\\nNote:"
  - "Sum up: {context}\\nSummary:"
  - "Facts of: {context}\\nFacts:"
sender_prompt_aware: "{context}\\nAnswer:"
max_context_tokens: 48
"""

# Run by both processes, each with its part of the receiver's blocks.
_BOTH_SHARDED = """
import sys
import torch
from latentwire import Wire, load_task, train_bridge
from latentwire.core.errors import ConfigError
from latentwire.models.fake import fake_model
from latentwire.core.progress import Progress
from latentwire.train import Processes

torch.set_num_threads(1)
p = Processes.join()
tasks = [load_task(name) for name in ("colours.yaml", "answers.yaml")]
def train(wire, out, **more):
    settings = {**%r, "batch_size": 4, "shard_receiver": True, **more}
    return train_bridge(wire, tasks, out, progress=Progress(), **settings)

wire = Wire.build(pair="fake", soft_tokens=4, layer=2, dropout=0.0)
train(wire, "two")
lm, whole = wire.receiver.lm, fake_model("fake-gemma")
blocks = lm.architecture.blocks
held = sum(weight.to_local().untyped_storage().nbytes() for weight in blocks.parameters())
size = sum(weight.nbytes for weight in whole.architecture.blocks.parameters())
assert 0.5 <= held / size < 0.55, held / size
assert not any(weight.grad is not None for weight in lm.model.parameters())
for weight, before in zip(lm.model.parameters(), whole.model.parameters()):
    assert torch.equal(weight.full_tensor() if hasattr(weight, "full_tensor") else weight, before)
for value in wire.bridge.state_dict().values():
    first, second = p.gather(value)
    assert torch.equal(first, second)

# The same receiver again: recomputed blocks, several batches a step, a bridge that writes a prefix.
deep = Wire.build(wire.sender.lm, lm, bridge="deep_prefix", soft_tokens=4, layer=2)
more = {"recompute": True, "grad_accum": 2, "steps": 2, "val_limit": 3}
train(deep, "deep", **more, loss="answer+kd_sender")

same = fake_model("fake-gemma")
try:
    train(Wire.build(same, same, soft_tokens=4, layer=2), "same")
    raise AssertionError("one model was sharded and kept whole")
except ConfigError as error:
    assert "a second time" in str(error)

# The command, with the trials of a warm start.
flags = "--pair fake --task colours.yaml --soft-tokens 4 --layer 2 --steps 2 --val-limit 4"
loss = "answer+0.5*kd_sender(temperature=2)"
command = ["latentwire", "train", *flags.split(), "--out", "command", "--loss", loss]
sys.argv = [*command, "--shard-receiver"]
from telepathy.cli.main import main
main()
"""


def test_two_processes_shard_a_receiver(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    own_cache: Path,
    tmp_path: Path,
) -> None:
    colours, one = make_task(32), fake_wire(dropout=0.0)
    answers = _task_of_many_choices(tmp_path)
    train_bridge(
        one, [colours, answers], tmp_path / "one", batch_size=8, progress=Progress(), **_SHARDED
    )
    ends = _run_both(_BOTH_SHARDED % _SHARDED, tmp_path, own_cache)
    assert [code for code, _, _ in ends] == [0, 0], ends
    _assert_same_course(tmp_path / "one", tmp_path / "two")
    again = Wire.from_pretrained(tmp_path / "two")
    for a, b in zip(again.bridge.state_dict().values(), one.bridge.state_dict().values()):
        assert torch.allclose(a, b, atol=1e-3)
    setting = json.loads((tmp_path / "command" / "config.json").read_text())["setting"]
    assert setting["train"]["shard_receiver"] and setting["processes"] == 2


def test_two_processes_equal_one_and_stop_together(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    own_cache: Path,
    tmp_path: Path,
) -> None:
    task, one = make_task(32), fake_wire(dropout=0.0)
    train_bridge(one, task, tmp_path / "one", batch_size=16, progress=Progress(), **SETTINGS)
    ends = _run_both(_BOTH % SETTINGS, tmp_path, own_cache)
    assert [code for code, _, _ in ends] == [REQUEUE, REQUEUE], ends
    _assert_same_course(tmp_path / "one", tmp_path / "two")
    assert _rows(tmp_path / "cut") == _rows(tmp_path / "whole")
    setting = json.loads((tmp_path / "two" / "config.json").read_text())["setting"]
    assert setting["processes"] == 2


def _run_both(code: str, folder: Path, cache: Path) -> list[tuple[int, str, str]]:
    """Run a command in two connected processes; return exit code, stdout and stderr of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "LATENTWIRE_CACHE": str(cache),
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
    }
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=folder,
            env={**environment, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    ends = [process.communicate(timeout=240) for process in both]
    return [(process.returncode, *end) for process, end in zip(both, ends)]


def _assert_same_course(one: Path, two: Path) -> None:
    """Check that losses, gradient norms and validations of two runs agree at every step."""
    rows = [_rows(run) for run in (one, two)]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]
    for a, b in zip(*rows):
        for key in ("loss", "grad_norm") if "loss" in a else ():
            assert a[key] == pytest.approx(b[key], abs=1e-4)
        if "val" in a:
            assert a["val"]["loss"] == pytest.approx(b["val"]["loss"], abs=1e-4)


def _task_of_many_choices(folder: Path) -> Task:
    """A task whose items differ in the number and length of choices, so that batches differ."""
    words = ("a", "rose", "the sea", "b", "one long answer", "it", "fire")
    for split, start, n in (("train", 0, 24), ("val", 100, 9), ("test", 200, 4)):
        rows = []
        for i in range(start, start + n):
            choices = [words[(i + 3 * j) % len(words)] for j in range(2 + i % 3)]
            text = " ".join(words[(i * j) % len(words)] for j in range(1, 2 + i % 7))
            rows.append({"text": f"{text} {i}", "choices": choices, "answer": i % 2})
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"answers_{split}.jsonl").write_text(lines)
    (folder / "answers.yaml").write_text(_ANSWERS)
    return load_task(folder / "answers.yaml")


def _rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
