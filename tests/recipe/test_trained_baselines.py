"""Baselines that learn: with the bridge's budget, resumable, and nothing of them left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from latentwire import Task, Wire
from latentwire.core.errors import RequeueError
from latentwire.core.progress import Progress
from latentwire.eval.context import Context
from latentwire.eval.method import Method
from latentwire.models import LanguageModel, Prompt, Receiver
from latentwire.models.adapters import AdapterSpec, adapted
from latentwire.train import TrainConfig

BUDGET = TrainConfig(
    steps=4, batch_size=4, eval_every=2, save_every=1, warmup_steps=1, init="fresh"
)
TRAINED = ("lora", "dora", "prompt_tuning", "prefix_blind", "same_model")


@pytest.fixture
def make_context(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> Callable[..., Context]:
    def make(n: int = 16, **settings: Any) -> Context:
        wire = fake_wire()
        given = {"budget": BUDGET, "soft_tokens": 4, "prompt_val_limit": 4, **settings}
        return Context(make_task(n), wire.sender, wire.receiver, layers=(2,), **given)

    return make


def _weights(context: Context) -> dict[str, torch.Tensor]:
    models = {"sender": context.sender.lm.model, "receiver": context.receiver.lm.model}
    return {
        f"{role}.{name}": value.clone()
        for role, model in models.items()
        for name, value in model.state_dict().items()
    }


def _answers(method: Method, context: Context) -> list[tuple[float, ...]]:
    return [p.scores for p in method.predict(list(context.task.split("test")), Progress())]


@pytest.mark.parametrize("name", [*TRAINED, "ridge"])
def test_both_models_are_as_before(name: str, make_context: Callable[..., Context]) -> None:
    context = make_context()
    before = _weights(context)
    method = context.methods.get(name)
    method.prepare(Progress())
    scores = _answers(method, context)
    after = _weights(context)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not any(p.requires_grad for p in context.receiver.lm.model.parameters())
    assert len(scores) == len(context.task.split("test"))
    assert scores == _answers(method, context)  # asked again, the same


@pytest.mark.parametrize("name", ["lora", "dora"])
def test_eight_examples_are_learned_from_their_text(
    name: str, make_context: Callable[..., Context]
) -> None:
    budget = BUDGET.model_copy(update={"steps": 120, "batch_size": 8, "save_every": 120, "ema": 0})
    context = make_context(8, budget=budget, options={"lr": 2e-2})
    method = context.methods.get(name)
    method.prepare(Progress())
    learned = method.predict(list(context.task.split("train")), Progress())
    assert all(p.correct for p in learned)


def test_soft_tokens_before_the_text_learn(
    make_context: Callable[..., Context], tmp_path: Path
) -> None:
    budget = BUDGET.model_copy(update={"steps": 60, "batch_size": 8, "save_every": 60, "ema": 0})
    method = make_context(8, budget=budget).methods.get("prompt_tuning")
    method.work = tmp_path / "run"
    method.prepare(Progress())
    rows = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < losses[0] - 0.5  # nats


def test_soft_tokens_stand_before_a_prompt_that_has_no_context(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Prompts of some tasks ask the question alone; choices are scored behind it.
    prompt = "Question: {question}\nAnswer:"
    monkeypatch.setattr("latentwire.methods.learned_prefix.best_template", lambda *_: prompt)
    context = make_context()
    method = context.methods.prepared("prompt_tuning", Progress())
    assert method.settings()["prompt"] == prompt
    assert len(_answers(method, context)) == 24


@pytest.mark.parametrize("name", TRAINED)
def test_seeds_differ_and_repeat(name: str, make_context: Callable[..., Context]) -> None:
    found = []
    for seed in (0, 0, 1):
        budget = BUDGET.model_copy(update={"seed": seed})
        context = make_context(seed=seed, budget=budget)
        method = context.methods.get(name)
        method.prepare(Progress())
        found.append(_answers(method, context))
    assert found[0] == found[1] != found[2]


def test_a_blind_prefix_says_the_same_whatever_the_text_is(
    make_context: Callable[..., Context],
) -> None:
    context = make_context()
    method = context.methods.get("prefix_blind")
    method.prepare(Progress())
    rows = torch.tensor(_answers(method, context))
    assert torch.allclose(rows, rows[:1].expand_as(rows), atol=1e-5)


@pytest.mark.parametrize("name", ["lora", "prompt_tuning"])
def test_a_stopped_training_goes_on(
    name: str,
    make_context: Callable[..., Context],
    tmp_path: Path,
    stop_at: Callable[..., Progress],
) -> None:
    context = make_context()
    whole = context.methods.prepared(name, Progress())

    def in_folder() -> Method:
        method = replace(context).methods.get(name)
        method.work = tmp_path / "stopped"
        return method

    with pytest.raises(RequeueError, match="after step 3 of 4"):
        in_folder().prepare(stop_at(3))
    again = in_folder()
    again.prepare(Progress())
    assert _answers(again, context) == _answers(whole, context)


def _a_question(context: Context) -> tuple[LanguageModel, Receiver, Prompt, list[tuple[int, ...]]]:
    lm = context.receiver.lm
    prompt = lm.prompt("one two three")
    return lm, Receiver(lm), prompt, [lm.answer_ids(prompt, "four")]


@pytest.mark.parametrize("dora", [False, True])
def test_adapters_begin_at_the_plain_model_and_get_every_gradient(
    dora: bool, make_context: Callable[..., Context]
) -> None:
    lm, reader, prompt, answer = _a_question(make_context())
    plain = reader.answer_logits([prompt], answer, None)[0]
    with adapted(lm, AdapterSpec(rank=2, alpha=4, dora=dora)) as adapters:
        hidden, targets = reader.answer_hidden([prompt], answer, None)
        assert torch.allclose(reader.head(hidden), plain, atol=1e-5)
        names = [name for name, _ in adapters.named_parameters()]
        for projection in ("q_proj", "o_proj", "gate_proj", "down_proj"):
            assert any(projection in name for name in names)
        with torch.no_grad():
            for name, value in adapters.named_parameters():
                if "lora_B" in name:
                    value.normal_()
        hidden, targets = reader.answer_hidden([prompt], answer, None)
        reader.answer_nll(hidden, targets).sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in adapters.parameters())
    assert torch.equal(reader.answer_logits([prompt], answer, None)[0], plain)


@pytest.mark.parametrize("dora", [False, True])
def test_merged_adapters_say_the_same_and_leave_the_weights_as_they_were(
    dora: bool, make_context: Callable[..., Context]
) -> None:
    lm, reader, prompt, answer = _a_question(make_context())
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    places = {name: value.data_ptr() for name, value in lm.model.state_dict().items()}
    plain = reader.answer_logits([prompt], answer, None)[0]
    with adapted(lm, AdapterSpec(rank=2, alpha=4, dora=dora)) as adapters:
        with torch.no_grad():
            for value in adapters.parameters():
                value.add_(torch.randn_like(value) * 0.3)
        apart = reader.answer_logits([prompt], answer, None)[0]
        with pytest.raises(KeyboardInterrupt), adapters.merged():
            together = reader.answer_logits([prompt], answer, None)[0]
            raise KeyboardInterrupt
        assert torch.allclose(together, apart, atol=1e-4)
        assert not torch.allclose(together, plain, atol=1e-2)
        assert torch.equal(reader.answer_logits([prompt], answer, None)[0], apart)
    after = lm.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert {name: value.data_ptr() for name, value in after.items()} == places
