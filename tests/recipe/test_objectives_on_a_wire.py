"""Every objective in training with the fake models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from latentwire import Task, TrainConfig, Wire, train_bridge
from latentwire.core.progress import Progress
from latentwire.models import Prompt
from latentwire.models.state_cache import StateCache
from latentwire.objectives import OBJECTIVES, Loss, Space
from latentwire.train import PRESETS
from latentwire.train.learner import BridgeLearner
from latentwire.train.training_data import label_words, load_training_data

Gradients = dict[str, torch.Tensor]


def _forward(wire: Wire, task: Task, loss: str, **settings: Any) -> tuple[BridgeLearner, Any]:
    config = TrainConfig.of(loss=loss, **settings)
    data = load_training_data(wire, [task], config)
    cache = StateCache(wire.sender, wire.spec.layers)
    cache.ensure(data.texts)
    wire.initialize(cache.states(data.initialization_texts), label_words([task]))
    lm = wire.receiver.lm
    made = Loss(config.terms, Space(lm.width, wire.spec.soft_tokens, lm.embedding_rms))
    return BridgeLearner(wire, cache, made, config), data.tasks[0]


def _gradients(wire: Wire, task: Task, loss: str, **settings: Any) -> Gradients:
    """Return the bridge's gradients after one pass over four examples, with dropout."""
    forward, data = _forward(wire, task, loss, **settings)
    wire.bridge.train()
    wire.bridge.zero_grad()
    forward.loss.train()
    torch.manual_seed(0)
    forward(data, data.train, range(4))[0].backward()
    return {n: p.grad.clone() for n, p in wire.bridge.named_parameters() if p.grad is not None}


def _differ(a: Gradients, b: Gradients) -> bool:
    """Return whether the gradients differ by more than rounding."""
    size = max(float(v.abs().max()) for v in a.values())
    return any(float((a[n] - b[n]).abs().max()) > 1e-4 * size for n in a)


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_objective_changes_the_bridge_only_with_a_weight(
    name: str, fake_wire: Callable[..., Wire], make_task: Callable[..., Task]
) -> None:
    wire, task = fake_wire(), make_task(8)
    base = "answer" if name != "answer" else "diversity"
    plain = _gradients(wire, task, base)
    without = _gradients(wire, task, f"{base}+0*{name}")
    assert all(torch.equal(plain[n], without[n]) for n in plain)
    assert _differ(plain, _gradients(wire, task, f"{base}+2*{name}"))
    alone = _gradients(wire, task, name)
    assert alone.keys() == plain.keys() and max(float(g.abs().max()) for g in alone.values()) > 0


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_presets_train_and_objective_parameters_are_not_saved(
    preset: str, fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    wire, task, loss = fake_wire(), make_task(8), PRESETS[preset].loss
    settings = {"steps": 2, "batch_size": 4, "eval_every": 1, "val_limit": 3}
    train_bridge(wire, task, tmp_path / "run", progress=Progress(), loss=loss, **settings)
    rows = [json.loads(r) for r in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    names = {term.name for term in TrainConfig.of(loss=loss).terms}
    assert all(row["terms"].keys() == names for row in rows if "loss" in row)
    decides = "objective" if preset == "autoencoder" else "accuracy"
    assert all(decides in row["val"] for row in rows if "val" in row)
    again = Wire.from_pretrained(tmp_path / "run")
    assert again.bridge.state_dict().keys() == wire.bridge.state_dict().keys()


def test_bridge_learner_adds_own_losses(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire, task = fake_wire(), make_task(8)
    assert wire.bridge.own_losses() == {}
    plain = _gradients(wire, task, "answer")
    own = {"size": lambda: 0.5 * wire.bridge.anchors.pow(2).sum()}
    monkeypatch.setattr(wire.bridge, "own_losses", lambda: {k: v() for k, v in own.items()})
    added = _gradients(wire, task, "answer")
    difference = added["anchors"] - plain["anchors"]
    assert torch.allclose(difference, wire.bridge.anchors.detach(), atol=1e-5)
    settings = {"steps": 1, "batch_size": 4, "val_limit": 3}
    train_bridge(wire, task, tmp_path / "run", progress=Progress(), **settings)
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert row["loss"] == pytest.approx(sum(row["terms"].values())) and "own.size" in row["terms"]


def test_recomputation_does_not_change_gradients(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task]
) -> None:
    wire, task, loss = fake_wire(), make_task(8), "answer+kd+reconstruction"
    kept = _gradients(wire, task, loss)
    again = _gradients(wire, task, loss, recompute=True)
    assert all(torch.allclose(kept[n], again[n], atol=1e-5, rtol=1e-4) for n in kept)
    assert all("forward" not in vars(b) for b in wire.receiver.lm.model.base_model.layers)


def test_answer_nll_in_parts_equals_the_whole(
    fake_wire: Callable[..., Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    import latentwire.models.receiver as module

    receiver = fake_wire().receiver
    soft = torch.randn(3, 4, receiver.lm.width, requires_grad=True)
    answers = [[5, 6, 7, 8], [9], [10, 11]]
    prompts = [Prompt((0, 12), (13,))] * 3

    def likelihood() -> tuple[torch.Tensor, torch.Tensor]:
        hidden, targets = receiver.answer_hidden(prompts, answers, soft)
        found = receiver.answer_nll(hidden, targets)
        return found, torch.autograd.grad(found.sum(), soft)[0]

    whole = likelihood()
    monkeypatch.setattr(module, "MAX_HEAD_POSITIONS", 5)
    for a, b in zip(likelihood(), whole):
        assert torch.allclose(a, b, atol=1e-5)
    logits, targets = receiver.answer_logits(prompts, answers, soft)
    expected = logits[1, -1].log_softmax(-1)[targets[1, -1]]
    assert whole[0][1].tolist() == pytest.approx([0, 0, 0, -expected.item()], abs=1e-5)
