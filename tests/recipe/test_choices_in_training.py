"""Distributions over choices in training, with the sender as teacher."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from latentwire import Task, TrainConfig, Wire, load_task, train_bridge
from latentwire.core.errors import ConfigError, RequeueError
from latentwire.core.progress import Progress
from latentwire.models import Prompt, Receiver
from latentwire.models.fake import FAKES, fake_model
from latentwire.models.forward import ForwardPasses
from latentwire.prompting.builder import PromptBuilder
from latentwire.prompting.scoring import respond
from latentwire.train import sender_scores
from latentwire.train.batch import TaskBatch
from latentwire.train.sender_scores import SenderScores
from latentwire.train.training_data import load_training_data

CHOICES = [[[40, 41, 42], [43], [44, 45]], [[46, 47], [48, 49, 50, 51]], [[52], [53, 54], [55]]]


def _prompts(lengths: tuple[int, ...], n_static: int = 0) -> list[Prompt]:
    return [Prompt((0, 9, 8, *range(20, 20 + n)), (12, 13), n_static) for n in lengths]


@pytest.mark.parametrize("name", FAKES)
@pytest.mark.parametrize("reads", ["embeddings", "prefix"])
@pytest.mark.parametrize(
    ("lengths", "n_static"), [((4, 9, 1), 0), ((5, 2, 7), 3), ((70, 61, 50), 0)]
)
def test_choice_scores_equal_score_choices(
    name: str, reads: Any, lengths: tuple[int, ...], n_static: int
) -> None:
    receiver = Receiver(fake_model(name), reads)
    if reads == "prefix" and lengths[0] + 10 > receiver.lm.window:
        lengths = (40, 31, 20)  # longer ones are refused
    torch.manual_seed(0)
    soft = torch.randn(3, 4, receiver.soft_width, requires_grad=True)
    prompts = _prompts(lengths, n_static)
    found = receiver.compare_choices(prompts, CHOICES, soft).log_softmax(-1)
    scored = receiver.score_choices(prompts, CHOICES, soft)
    for row, expected in zip(found, scored):
        n = len(expected)
        assert torch.allclose(row[:n].detach(), expected.log_softmax(-1), atol=1e-4)
        assert bool(row[n:].isneginf().all())
    (gradient,) = torch.autograd.grad(found[:, 0].sum(), soft)
    assert all(bool(row.abs().sum() > 0) for row in gradient)


def test_compare_choices_does_not_attend_across_choices() -> None:
    receiver, soft = Receiver(fake_model("fake-gemma")), torch.randn(3, 4, 48)
    prompts = _prompts((4, 9, 1))
    together = receiver.compare_choices(prompts, CHOICES, soft)
    for j in range(2):
        alone = receiver.compare_choices(prompts, [[row[j]] for row in CHOICES], soft)
        assert torch.allclose(alone[:, 0], together[:, j], atol=1e-4)


@pytest.fixture
def one_token_task(make_task: Callable[..., Task], tmp_path: Path) -> Task:
    """A task whose labels are one token each for the byte-level chat model."""
    make_task(8)
    for name in ("train", "val", "test"):
        path = tmp_path / f"{name}.csv"
        path.write_text(path.read_text().replace(",red", ",r").replace(",blue", ",b"))
    text = (tmp_path / "colours.yaml").read_text()
    (tmp_path / "colours.yaml").write_text(text.replace("[red, blue]", "[r, b]"))
    return load_task(tmp_path / "colours.yaml")


def _batch(wire: Wire, task: Task, n: int = 3) -> TaskBatch:
    prompted = load_training_data(wire, [task], TrainConfig.of()).tasks[0].prompted
    torch.manual_seed(1)
    soft = torch.randn(n, 4, wire.receiver.lm.width, requires_grad=True)
    return TaskBatch(prompted, task.split("train")[:n], soft, soft)


@pytest.mark.parametrize("single", [True, False])
def test_task_batch_compares_choices_in_the_fewest_passes(
    single: bool,
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    one_token_task: Task,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = one_token_task if single else make_task(8)
    wire = fake_wire(pair=None, sender="fake-gemma", receiver="fake-llama")
    batch, passes, run = _batch(wire, task), [], ForwardPasses.run
    monkeypatch.setattr(ForwardPasses, "run", lambda *a, **k: (passes.append(1), run(*a, **k))[1])
    found = batch.choice_scores.log_softmax(-1)
    batch.answer_nll.sum()
    assert len(passes) == (1 if single else 2)
    responses = wire.respond(task, task.split("train")[:3], batch.soft.detach())
    expected = torch.tensor([r.scores for r in responses]).log_softmax(-1)
    assert torch.allclose(found.detach(), expected, atol=1e-4)


def test_sender_scores_are_those_of_the_sender_given_the_text(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task]
) -> None:
    wire, task = fake_wire(), make_task(8)
    found = _batch(wire, task).sender_choice_scores.log_softmax(-1)
    builder = PromptBuilder(task, wire.sender.lm, task.prompts[0])
    asked = [builder.build(example) for example in task.split("train")[:3]]
    expected = [r.scores for r in respond(Receiver(wire.sender.lm), task, asked)]
    assert torch.allclose(found, torch.tensor(expected).log_softmax(-1), atol=1e-4)
    assert not found.requires_grad


def test_sender_scores_run_the_sender_once_per_example(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, asked, real = make_task(8), Counter[str](), SenderScores._append

    def append(self: SenderScores, scores: dict[str, list[float]]) -> None:
        asked.update(list(scores))
        real(self, scores)

    monkeypatch.setattr(SenderScores, "_append", append)
    settings: dict[str, Any] = {"batch_size": 4, "loss": "answer+0.5*kd_sender(temperature=2)"}
    run = {"progress": Progress(), "steps": 6, **settings}  # three epochs
    train_bridge(fake_wire(), task, tmp_path / "run", **run)
    assert len(asked) == 8 and {*asked.values()} == {1}
    train_bridge(fake_wire(), task, tmp_path / "other", **run, seed=1)
    train_bridge(fake_wire(), task, tmp_path / "short", **{**run, "steps": 1})
    assert asked.total() == 8
    rows = [json.loads(r) for r in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["terms"].keys() == {"answer", "kd_sender"} for row in rows if "loss" in row)
    assert all("accuracy" in row["val"] and "objective" not in row["val"] for row in rows[-1:])


def test_sender_scores_cover_drawn_examples_and_are_stored_exactly(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path, own_cache: Path
) -> None:
    wire, task = fake_wire(), make_task(16)
    settings: dict[str, Any] = {"steps": 1, "batch_size": 4, "loss": "kd_sender", "init": "fresh"}
    train_bridge(wire, task, tmp_path / "run", progress=Progress(), **settings)
    (path,) = own_cache.glob("answers/*/*.jsonl")
    stored = json.loads(path.read_text())
    assert len(stored) == 4
    with path.open("a") as out:
        out.write('{"torn": [1.0')  # a kill cut the line: it is passed over
    scorer, builder = Receiver(wire.sender.lm), PromptBuilder(task, wire.sender.lm, task.prompts[0])
    examples = task.split("train")
    first, again = (SenderScores(scorer, builder) for _ in range(2))
    assert first.ensure(examples, range(16)) == 12 and again.ensure(examples, range(16)) == 0
    for a, b in zip(first.scores(examples), again.scores(examples)):
        assert torch.equal(a, b)


def test_sender_scores_are_kept_after_a_stop(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, whole, cut = make_task(8), fake_wire(), fake_wire()
    settings: dict[str, Any] = {"progress": Progress(), "steps": 4, "loss": "answer+kd_sender"}
    settings |= {"batch_size": 4, "init": "fresh"}
    monkeypatch.setattr(sender_scores, "_BATCH_SIZE", 2)
    real, done = SenderScores._append, []

    def stopping(self: SenderScores, scores: dict[str, list[float]]) -> None:
        real(self, scores)
        done.append(len(scores))
        if len(done) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(SenderScores, "_append", stopping)
        with pytest.raises(RequeueError, match="Stopped while computing sender scores"):
            train_bridge(cut, task, tmp_path / "cut", **settings)
    assert done == [2, 2]
    train_bridge(cut, task, tmp_path / "cut", resume=True, **settings)
    train_bridge(whole, task, tmp_path / "whole", **settings)
    assert cut.fingerprint == whole.fingerprint


def test_kd_sender_refuses_tasks_without_choices(
    fake_wire: Callable[..., Wire], tmp_path: Path
) -> None:
    task = load_task("squad")
    with pytest.raises(ConfigError, match=r"kd_sender compares .* squad .* one of: answer, "):
        train_bridge(fake_wire(), task, tmp_path / "run", loss="answer+kd_sender")
    assert not (tmp_path / "run").exists()
