"""Averaged weights, early stopping, several seeds, warm starts, several tasks, text pairs."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from latentwire import Task, TrainConfig, Wire, load_task, train_bridge
from latentwire.bridge.pooling import masked_mean
from latentwire.core.errors import ConfigError, UsageError
from latentwire.core.progress import Progress
from latentwire.losses import token_mean
from latentwire.models.state_cache import StateCache
from latentwire.prompting.builder import PromptBuilder
from latentwire.train import train_seeds, warm_start
from latentwire.train.data_order import batch_indices, lr_factor
from latentwire.train.ema import WeightAverage
from latentwire.train.learner import BridgeLearner
from latentwire.train.training_data import TaskData

SHORT: dict[str, Any] = {"steps": 6, "batch_size": 4, "eval_every": 3, "warmup_steps": 2}


def _rows(run: Path, key: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if key in row]


def _plain_loop(wire: Wire, task: Task, steps: int, batch_size: int) -> None:
    """What training is, without any of its features."""
    bridge, receiver = wire.bridge, wire.receiver
    train, builder = list(task.split("train")), wire.prompt_builder(task)
    texts, _ = wire.sender_texts(task, train)
    cache = StateCache(wire.sender, wire.spec.layers)
    torch.manual_seed(0)
    wire.initialize(cache.states(texts[:256]), task.labels, 0)
    linear = [m.weight for m in bridge.modules() if isinstance(m, torch.nn.Linear)]
    rest = [p for p in bridge.parameters() if all(p is not q for q in linear)]
    groups = [{"params": linear, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))
    bridge.train()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * lr_factor(step, steps, 2)
        optimiser.zero_grad()
        index = batch_indices(len(train), batch_size, step, 0)
        states = cache.states([texts[i] for i in index])
        prompts = [builder.build_handoff(train[i])[0].prompt for i in index]
        answers = [builder.right_answer(p, train[i]) for p, i in zip(prompts, index)]
        soft = bridge(states.states, states.mask)
        logits, targets = receiver.answer_logits(prompts, answers, soft)
        losses = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        token_mean(losses.view_as(targets), targets).backward()
        torch.nn.utils.clip_grad_norm_(bridge.parameters(), 1.0)
        optimiser.step()


def test_the_default_is_the_plain_loop_bit_for_bit(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    ours, plain, task = fake_wire(), fake_wire(), make_task()
    # The last weights are the ones that are kept.
    settings = {**SHORT, "eval_every": 6, "init": "fresh", "lr": 1e-3, "ema": 0}
    train_bridge(ours, task, tmp_path / "run", progress=Progress(), **settings)
    _plain_loop(plain, task, 6, 4)
    assert ours.fingerprint == plain.fingerprint


def test_averaged_weights_are_those_that_are_validated_and_kept(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    task, plain, averaged = make_task(), fake_wire(), fake_wire()
    settings = {**SHORT, "eval_every": 6}
    train_bridge(plain, task, tmp_path / "plain", progress=Progress(), ema=0, **settings)
    train_bridge(averaged, task, tmp_path / "ema", progress=Progress(), ema=0.5, **settings)
    assert plain.fingerprint != averaged.fingerprint
    losses = [[row["loss"] for row in _rows(tmp_path / n, "loss")] for n in ("plain", "ema")]
    assert losses[0] == losses[1]  # training itself is the same
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(module.weight)
    average = WeightAverage(module, 0.5)
    torch.nn.init.ones_(module.weight)
    for expected in (0.9, 0.9 * 2 / 11 + 9 / 11):  # the first steps keep 1/10, 2/11
        average.update()
        assert average.state_dict()["weight"].item() == pytest.approx(expected)
    with average.applied():
        assert module.weight.item() == pytest.approx(expected)
    assert module.weight.item() == 1.0


def test_it_ends_early_when_val_gets_no_better(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    task, out = make_task(8), tmp_path / "run"
    settings = {**SHORT, "steps": 40, "eval_every": 2, "patience": 2, "lr": 1e-9}
    done = train_bridge(fake_wire(), task, out, progress=Progress(), **settings)
    kept = int(done.best["step"])
    assert done.n_steps == kept + 4 < 40
    before = _rows(out, "loss")
    again = train_bridge(fake_wire(), task, out, resume=True, progress=Progress(), **settings)
    assert again.n_steps == done.n_steps and _rows(out, "loss") == before


def test_several_seeds_are_the_single_runs_and_their_spread(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    task, out = make_task(), tmp_path / "seeds"
    found = train_seeds(fake_wire(), task, out, [0, 3], progress=Progress(), **SHORT)
    alone = fake_wire(seed=3)
    train_bridge(alone, task, tmp_path / "alone", seed=3, progress=Progress(), **SHORT)
    assert Wire.from_pretrained(out / "seed-3").fingerprint == alone.fingerprint
    a, b = (found.runs[seed].best["loss"] for seed in (0, 3))
    assert found.mean["loss"] == pytest.approx((a + b) / 2)
    assert found.sd["loss"] == pytest.approx(abs(a - b) / math.sqrt(2))
    summary = json.loads((out / "summary.json").read_text())
    assert summary["mean"] == found.mean and summary["seeds"]["0"]["loss"] == a
    again = train_seeds(fake_wire(), task, out, [0, 3], resume=True, progress=Progress(), **SHORT)
    assert again.mean == found.mean
    with pytest.raises(UsageError, match="two or more different seeds"):
        train_seeds(fake_wire(), task, out, [1, 1])


def test_a_warm_start_begins_where_another_run_ended(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    task, first = make_task(), fake_wire()
    train_bridge(first, task, tmp_path / "first", progress=Progress(), **SHORT)
    second, source = fake_wire(seed=5), str(tmp_path / "first")
    still = {**SHORT, "steps": 1, "lr": 1e-30, "weight_decay": 0.0, "seed": 5}
    train_bridge(second, task, tmp_path / "second", init=source, progress=Progress(), **still)
    ours, theirs = second.bridge.state_dict(), first.bridge.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    setting = json.loads((tmp_path / "second" / "config.json").read_text())["setting"]
    assert setting["init"] == first.fingerprint
    for other in ({"width": 64}, {"bridge": "linear"}, {"soft_tokens": 3}):
        with pytest.raises(ConfigError, match="cannot initialize this"):
            train_bridge(fake_wire(**other), task, tmp_path / "x", init=source, **SHORT)
    assert not (tmp_path / "x").exists()


_PAIRS = """\
name: echo
version: 1
kind: generation
metric: exact_match
source:
  files: {train: echo_train.csv, val: echo_val.csv, test: echo_test.csv}
splits: {train: train, val: val, test: test}
example: {context: "{text}", references: answer}
prompts:
  - "{context}\\nIts word:"
  - "Text: {context}\\nWord:"
  - "{context}\\nWord:"
relay_prompts:
  - "Note: {context}\\nNote:"
  - "Sum up: {context}\\nSummary:"
  - "Facts of: {context}\\nFacts:"
sender_prompt_aware: "{context}"
max_context_tokens: 48
max_new_tokens: 6
"""


@pytest.fixture
def pairs(tmp_path: Path) -> Task:
    """Plain pairs of texts: what is read, what is to be written."""
    words = ("sun", "ice", "oak")
    rows = [(f"{words[i % 3]} number {i * 7 % 100}", words[i % 3]) for i in range(24)]
    for name, part in (("train", rows[:12]), ("val", rows[12:20]), ("test", rows[20:])):
        lines = ["text,answer", *(f"{a},{b}" for a, b in part)]
        (tmp_path / f"echo_{name}.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "echo.yaml").write_text(_PAIRS)
    return load_task(tmp_path / "echo.yaml")


def test_text_pairs_are_learned_to_their_end(
    fake_wire: Callable[..., Wire], pairs: Task, tmp_path: Path
) -> None:
    pair = {"sender": "fake-gemma", "receiver": "fake-llama"}
    wire = fake_wire(**pair, soft_tokens=12, dropout=0.0)
    settings = {"steps": 200, "batch_size": 12, "lr": 6e-3, "eval_every": 200}
    done = train_bridge(wire, pairs, tmp_path / "run", progress=Progress(), **settings)
    assert "accuracy" not in done.best
    examples = list(pairs.split("train"))[:6]
    texts, _ = wire.sender_texts(pairs, examples)
    soft = wire.soft_tokens(wire.sender.encode(texts, wire.spec.layers))
    prompts = [wire.prompt_builder(pairs).build_handoff(example)[0].prompt for example in examples]
    written = wire.receiver.generate(prompts, soft, max_new_tokens=6)
    answers = [wire.receiver.decode(ids) for ids in written]
    assert answers == [example.references[0] for example in examples]  # and nothing behind it


@pytest.mark.parametrize("mixing", ["proportional", "equal"])
def test_several_tasks_share_one_bridge(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    pairs: Task,
    tmp_path: Path,
    mixing: str,
) -> None:
    wire, colours, out = fake_wire(), make_task(8), tmp_path / "run"
    done = train_bridge(
        wire, [colours, pairs], out, mixing=mixing, progress=Progress(), keep=1, **SHORT
    )
    assert done.n_train == 8 + 12
    best = done.best
    assert best["loss"] == pytest.approx((best["colours.loss"] + best["echo.loss"]) / 2)
    assert best["accuracy"] == best["colours.accuracy"]
    setting = json.loads((out / "config.json").read_text())["setting"]
    assert [task["name"] for task in setting["tasks"]] == ["colours", "echo"]
    again = Wire.from_pretrained(out)
    assert again.task is not None and again.task.name == "colours"
    assert again.training["tasks"] == ["colours", "echo"]
    with pytest.raises(UsageError, match="different tasks"):
        train_bridge(wire, [colours, colours], tmp_path / "x", **SHORT)


def test_a_compiled_bridge_gives_the_same_run(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The eager backend traces the bridge as the real one does, and needs no compiler.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    task, runs = make_task(8), []
    for name in (False, True):
        wire = fake_wire(dropout=0.0)
        config = TrainConfig.of(compile=name, **SHORT)
        train_bridge(wire, task, tmp_path / str(name), config=config, progress=Progress())
        runs.append([row["loss"] for row in _rows(tmp_path / str(name), "loss")])
    assert runs[0] == pytest.approx(runs[1], abs=1e-5)


@pytest.mark.parametrize("kind", ["perceiver", "thalamic"])
def test_a_bridge_starts_at_the_map_to_the_right_answers(
    kind: str, fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    task, wire = make_task(32), fake_wire(bridge=kind)
    settings = {"steps": 1, "lr": 1e-9, "weight_decay": 0.0, "init": "ridge"}
    train_bridge(wire, task, tmp_path / "run", progress=Progress(), **settings)
    bridge, lm = wire.bridge, wire.receiver.lm
    words = {
        label: lm.embed(torch.tensor(lm.token_ids(f" {label}"))).mean(0) for label in task.labels
    }
    apart = torch.nn.functional.normalize(words["red"] - words["blue"], dim=0)
    sums = {"red": 0.0, "blue": 0.0}
    examples = list(task.split("val"))  # texts that the map was not solved for
    texts, _ = wire.sender_texts(task, examples)
    states = wire.sender.encode(texts, wire.spec.layers)
    mean = masked_mean(
        (states.states - bridge.state_mean[:, None]) / bridge.state_std[:, None], states.mask
    )
    along = bridge.mean_path(mean.flatten(1)) @ apart
    for example, value in zip(examples, along.tolist()):
        sums[example.references[0]] += value
    assert sums["red"] > 0 > sums["blue"]


def test_the_warm_start_takes_the_prompt_and_scale_of_the_smallest_loss(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, wire, asked = make_task(16), fake_wire(), []
    best = task.prompts[1]

    def validate(forward: BridgeLearner, data: list[TaskData], *rest: Any) -> dict[str, float]:
        prompt = data[0].prompted.builder.template
        size = forward.wire.bridge.mean_path.weight.norm().item()
        asked.append((prompt, size))
        return {"loss": (prompt != best) + abs(size / asked[0][1] - 4)}

    monkeypatch.setattr(warm_start, "validate", validate)
    settings = {"steps": 1, "lr": 1e-9, "weight_decay": 0.0, "ema": 0}
    train_bridge(wire, task, tmp_path / "run", progress=Progress(), **settings)
    assert {prompt for prompt, _ in asked} == {*task.prompts}
    size = wire.bridge.mean_path.weight.norm().item()
    assert size == pytest.approx(4 * asked[0][1], rel=1e-5)
    again = Wire.from_pretrained(tmp_path / "run")
    assert again.prompt_builder(task).template == wire.prompt_builder(task).template == best


def test_the_warm_start_asks_with_every_prompt(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, asked, build = make_task(8), [], PromptBuilder.build_handoff
    monkeypatch.setattr(
        PromptBuilder,
        "build_handoff",
        lambda self, e: (asked.append(self.template), build(self, e))[1],
    )
    train_bridge(fake_wire(), task, tmp_path / "run", progress=Progress(), steps=1)
    assert {*asked} == {*task.prompts}


def test_a_given_prompt_is_what_the_receiver_reads(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    task, wire = make_task(8), fake_wire(prompt="{context} is")
    train_bridge(wire, task, tmp_path / "run", progress=Progress(), **SHORT)
    assert Wire.from_pretrained(tmp_path / "run").prompt_builder(task).template == "{context} is"
    for setting, wrong in (("blind", "Its colour is"), ("blind", ""), ("shared", "Its colour is")):
        with pytest.raises(UsageError, match="no placeholder for the message"):
            fake_wire(prompt=wrong, setting=setting)
    with pytest.raises(UsageError, match="no placeholder for the message"):
        fake_wire(prompt="{question} It is")


def test_a_bridge_without_a_mean_path_starts_fresh(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    wires = [fake_wire(bridge="mlp") for _ in range(2)]
    for wire, init in zip(wires, ("auto", "fresh")):
        train_bridge(wire, make_task(8), tmp_path / init, progress=Progress(), init=init, **SHORT)
    assert wires[0].fingerprint == wires[1].fingerprint


@pytest.mark.parametrize(
    "options",
    [
        {"bridge": "mlp"},
        {"bridge": "deep_prefix"},  # its path ends in a code, not in embeddings
        {"bridge": "multi_layer", "layer": [1, 2]},  # its path begins behind the mixture
    ],
)
def test_a_kind_without_a_fitting_path_cannot_start_at_a_map(
    options: dict[str, Any],
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    tmp_path: Path,
) -> None:
    wire = fake_wire(**options)
    with pytest.raises(ConfigError, match=f"{options['bridge']} bridge has no linear path"):
        train_bridge(wire, make_task(8), tmp_path / "run", progress=Progress(), init="ridge")
