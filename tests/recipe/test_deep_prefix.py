"""A deep prefix acts like text that the receiver has read before the prompt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentwire import Task, TrainConfig, Wire, evaluate, train_bridge
from latentwire.core.errors import ConfigError, ModelError, ShapeError, UsageError
from latentwire.core.progress import Progress
from latentwire.losses import token_mean
from latentwire.models import MESSAGE_MARK, LanguageModel, Receiver, load_model
from latentwire.models.deep_prefix import pack_prefix, prefix_scale, read_prefix, unpack_prefix
from latentwire.models.recomputation import recomputed_blocks

STATIC = "Labels: dog, cat.\n"
FIRST = ["the sea", "fire!!!"]
CHOICES = ("the big dog", "cat", "x")
MODELS = pytest.mark.parametrize("name", ["fake-llama", "fake-gemma"])


def _cache(lm: LanguageModel, ids: list[int]) -> Tensor:
    """Return the model's own keys and values of some tokens, packed, (k, w)."""
    with torch.no_grad():
        out = lm.model.base_model(input_ids=torch.tensor([ids]), use_cache=True)
    return pack_prefix((each.keys, each.values) for each in out.past_key_values.layers)[0]


def _case(name: str, k: int = 4) -> tuple[Receiver, list[Any], list[list[int]], Tensor]:
    """Return a receiver, prompts of different length, and their beginnings as ids and as prefix."""
    lm = load_model(name)
    prompts = [lm.prompt(STATIC + f"Q{'!' * i}{MESSAGE_MARK}\nLabel:", STATIC) for i in (0, 5)]
    first = [lm.token_ids(text)[:k] for text in FIRST]
    prefix = torch.stack([_cache(lm, ids) for ids in first])
    return Receiver(lm, reads="prefix"), prompts, first, prefix


def _whole(lm: LanguageModel, first: list[int], prompt: Any, answer: Any) -> Tensor:
    """Return the log-probabilities at the answer when the whole model reads one text."""
    ids = [*first, *prompt.before, *prompt.after, *answer]
    with torch.no_grad():
        logits = lm.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return logits[-len(answer) - 1 : -1]


def _answer_loss(receiver: Receiver, prompts: Any, answers: Any, soft: Tensor) -> Tensor:
    hidden, targets = receiver.answer_hidden(prompts, answers, soft)
    return token_mean(receiver.answer_nll(hidden, targets), targets)


@MODELS
def test_deep_prefix_of_the_models_own_keys_and_values_equals_reading(name: str) -> None:
    receiver, prompts, first, prefix = _case(name)
    lm = receiver.lm
    answers = [lm.answer_ids(prompts[0], "a dog"), lm.answer_ids(prompts[1], "cat")]
    logits, _ = receiver.answer_logits(prompts, answers, prefix)
    for row, ids, prompt, answer in zip(logits, first, prompts, answers):
        expected = _whole(lm, ids, prompt, answer)
        assert torch.allclose(row[-len(answer) :].log_softmax(-1), expected, atol=1e-4)
    assert not torch.allclose(logits, receiver.answer_logits(prompts, answers, prefix[[1, 0]])[0])


@MODELS
def test_deep_prefix_scores_choices_as_the_whole_model(name: str) -> None:
    receiver, prompts, first, prefix = _case(name)
    choices = [[receiver.lm.answer_ids(p, c) for c in CHOICES] for p in prompts]
    scores = receiver.score_choices(prompts, choices, prefix)
    for i, prompt in enumerate(prompts):
        for ids, value in zip(choices[i], scores[i]):
            lp = _whole(receiver.lm, first[i], prompt, ids)
            expected = sum(lp[n, token] for n, token in enumerate(ids))
            assert float(value) == pytest.approx(float(expected), abs=1e-3)


@MODELS
def test_deep_prefix_writes_as_the_whole_model(name: str) -> None:
    receiver, prompts, first, prefix = _case(name)
    lm = receiver.lm
    together = receiver.generate(prompts, prefix, max_new_tokens=6)
    for ids, prompt, got in zip(first, prompts, together):
        whole = [*ids, *prompt.before, *prompt.after]
        want = lm.model.generate(
            torch.tensor([whole]), max_new_tokens=6, do_sample=False, pad_token_id=1
        )[0, len(whole) :].tolist()
        stop = lm.tokenizer.eos_token_id
        assert got == (want[: want.index(stop)] if stop in want else want)


@MODELS
def test_deep_prefix_rows_are_independent(name: str) -> None:
    receiver, prompts, _, prefix = _case(name)
    prefix = prefix + torch.randn(prefix.shape, generator=torch.Generator().manual_seed(0))
    choices = [[receiver.lm.answer_ids(p, c) for c in CHOICES] for p in prompts]
    together = receiver.score_choices(prompts, choices, prefix)
    written = receiver.generate(prompts, prefix, max_new_tokens=5)
    for i in range(2):
        one = slice(i, i + 1)
        (alone,) = receiver.score_choices(prompts[one], choices[one], prefix[one])
        assert torch.allclose(together[i], alone, atol=1e-4)
        assert receiver.generate(prompts[one], prefix[one], max_new_tokens=5) == [written[i]]


@MODELS
def test_deep_prefix_gradients_with_and_without_recomputation(name: str) -> None:
    receiver, prompts, _, prefix = _case(name)
    answers = [receiver.lm.answer_ids(prompts[0], "a dog"), receiver.lm.answer_ids(prompts[1], "x")]

    def gradient(given: Tensor, recompute: bool = False) -> Tensor:
        given = given.clone().requires_grad_()
        with recomputed_blocks(receiver.lm, recompute):
            _answer_loss(receiver, prompts, answers, given).backward()
        assert given.grad is not None
        return given.grad

    kept = gradient(prefix)
    assert torch.allclose(gradient(prefix, recompute=True), kept, atol=1e-6)
    keys_and_values = unpack_prefix(receiver.lm, kept)
    assert all(bool(part.abs().sum() > 0) for pair in keys_and_values for part in pair)
    direction = kept / kept.norm()
    with torch.no_grad():
        up, down = (
            float(_answer_loss(receiver, prompts, answers, prefix + e * direction))
            for e in (1e-2, -1e-2)
        )
    assert (up - down) / 2e-2 == pytest.approx(float(kept.norm()), rel=2e-2)


@MODELS
def test_unpack_prefix_inverts_pack_prefix(name: str) -> None:
    lm = load_model(name)
    packed = torch.randn(2, 3, lm.prefix_width)
    layers = unpack_prefix(lm, packed)
    assert len(layers) == lm.n_layers and torch.equal(pack_prefix(layers), packed)
    heads, size = lm.architecture.cache_shapes[0]
    last_values = layers[-1][1]
    assert last_values.shape == (2, heads, 3, size)
    assert torch.equal(last_values[:, -1], packed[..., -size:])


def test_read_prefix_uses_positions_from_0() -> None:
    llama, gemma = load_model("fake-llama"), load_model("fake-gemma")
    ids = llama.token_ids("red blue")
    start = read_prefix(llama, llama.embed(torch.tensor(ids)))
    assert torch.allclose(start, _cache(llama, ids), atol=1e-5)  # no token stands before a text
    ids = gemma.token_ids("red blue")
    start, alone = read_prefix(gemma, gemma.embed(torch.tensor(ids))), _cache(gemma, ids)
    one = 2 * gemma.architecture.cache_shapes[0][1]
    assert torch.allclose(start[:, :one], alone[:, :one], atol=1e-5)  # before any token is seen
    assert not torch.allclose(start[:, one:], alone[:, one:], atol=1e-2)  # behind the first one
    scale = prefix_scale(gemma, start).view(6, -1)
    assert torch.allclose(scale[:, 0], start.view(len(ids), 6, -1).pow(2).mean((0, 2)).sqrt())
    assert torch.equal(scale, scale[:, :1].expand_as(scale))


def test_check_window_refuses_a_prefix_beyond_the_window() -> None:
    receiver, prompts, _, prefix = _case("fake-gemma")  # window 64
    lm = receiver.lm
    room = lm.window - prefix.shape[1] - max(len(p.before) + len(p.after) for p in prompts)
    assert receiver.generate(prompts, prefix, max_new_tokens=room + 1)
    with pytest.raises(UsageError, match=r"attention window of 'fake-gemma' \(64 tokens\)"):
        receiver.generate(prompts, prefix, max_new_tokens=room + 2)
    longest = [[tuple(range(9, 9 + room + 1))], [(7,)]]
    full = receiver.score_choices(prompts, longest, prefix)
    expected = [
        sum(float(_whole(lm, ids, p, c[0])[n, t]) for n, t in enumerate(c[0]))
        for ids, p, c in zip(_case("fake-gemma")[2], prompts, longest)
    ]
    assert [float(row[0]) for row in full] == pytest.approx(expected, abs=1e-2)
    with pytest.raises(UsageError, match="deep prefix of 4 positions"):
        receiver.score_choices(prompts, [[tuple(range(9, 9 + room + 2))], [(7,)]], prefix)
    with pytest.raises(UsageError, match="deep prefix of 4 positions"):
        receiver.answer_logits(prompts, [list(range(room + 2))] * 2, prefix)
    with pytest.raises(UsageError, match="deep prefix of 64 positions"):
        read_prefix(lm, torch.zeros(64, lm.width))


def test_receiver_refuses_soft_tokens_of_the_other_form(fake_wire: Callable[..., Wire]) -> None:
    receiver, prompts, _, prefix = _case("fake-llama")
    with pytest.raises(ShapeError, match="width 32, but 'fake-llama' reads 128 as prefix"):
        receiver.score_choices(prompts, [[(1,)]] * 2, torch.zeros(2, 4, 32))
    with pytest.raises(ShapeError, match="width 128, but 'fake-llama' reads 32 as embeddings"):
        Receiver(receiver.lm).score_choices(prompts, [[(1,)]] * 2, prefix)
    wire = fake_wire(bridge="deep_prefix")
    with pytest.raises(UsageError, match="writes prefix, this receiver reads embeddings"):
        Wire.of(wire.sender, Receiver(wire.receiver.lm), wire.bridge, wire.spec)


def test_deep_prefix_refuses_models_without_keys_and_values(own_cache: Path) -> None:
    lm = load_model("fake-llama")
    other = LanguageModel("other", lm.model, lm.tokenizer)
    one = torch.zeros(1, 2, 1, 8)
    mixed = SimpleNamespace(keys=one, values=one, conv_states={})
    for layers in ([], [SimpleNamespace(keys=None, values=None)], [SimpleNamespace()], [mixed]):
        out = SimpleNamespace(past_key_values=SimpleNamespace(layers=layers))
        other.model = SimpleNamespace(
            get_input_embeddings=lm.model.get_input_embeddings,
            base_model=lambda _out=out, **_: _out,
            config=lm.model.config,
        )
        with pytest.raises(ModelError, match=r"'other' .* cannot read a deep prefix"):
            Wire.build("fake-gemma", other, bridge="deep_prefix")


@pytest.mark.parametrize("receiver", ["fake-llama", "fake-gemma"])
def test_deep_prefix_wire_trains_and_reloads(
    receiver: str, fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    wire, task = fake_wire(bridge="deep_prefix", receiver=receiver), make_task(64)
    assert wire.bridge.receiver_width == wire.receiver.lm.prefix_width
    settings = {"steps": 60, "batch_size": 16, "lr": 5e-3, "loss": "answer+0.1*kd+0.1*diversity"}
    train_bridge(wire, task, tmp_path / "run", progress=Progress(), **settings)
    models = {"sender": wire.sender.lm, "receiver": wire.receiver.lm}
    again = Wire.from_pretrained(tmp_path / "run", **models)
    assert again.fingerprint == wire.fingerprint and again.receiver.reads == "prefix"
    assert again.answer("fire and sea").scores == wire.answer("fire and sea").scores
    (message,) = again.send(["fire and sea"])
    assert message.soft.shape == (4, wire.receiver.lm.prefix_width)
    methods = ["bridge", "zero", "random", "shuffled", "zeroshot_receiver"]
    found = evaluate(again, task, methods=methods, timed=1, progress=Progress()).to_json()
    accuracy = {name: each["accuracy"]["value"] for name, each in found["methods"].items()}
    assert accuracy["bridge"] >= 0.9
    assert all(abs(accuracy[name] - 0.5) <= 0.25 for name in ("zero", "random", "shuffled"))


def test_deep_prefix_bridge_starts_at_real_keys_and_values(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task]
) -> None:
    wire, task = fake_wire(bridge="deep_prefix"), make_task(8)
    states = wire.sender.encode(["fire", "the sea"], wire.spec.layers)
    wire.initialize(states, task.labels)
    lm, bridge = wire.receiver.lm, wire.bridge
    rows = [lm.embed(torch.tensor(lm.token_ids(" " + label))).mean(0) for label in task.labels]
    start = read_prefix(lm, torch.stack(rows * 2))
    assert torch.allclose(bridge.write(torch.zeros(1, 4, lm.prefix_width))[0], start, atol=1e-5)
    assert torch.equal(bridge.get_buffer("scale"), prefix_scale(lm, start))
    wire.initialize(states, ())  # real embeddings drawn at random


def test_deep_prefix_wire_has_gradients_in_every_parameter(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task]
) -> None:
    wire, task = fake_wire(bridge="deep_prefix", dropout=0.0), make_task(8)
    examples = list(task.split("train"))[:4]
    texts, _ = wire.sender_texts(task, examples)
    states = wire.sender.encode(texts, wire.spec.layers)
    wire.initialize(states, task.labels)
    builder = wire.prompt_builder(task)
    prompts = [builder.build_handoff(example)[0].prompt for example in examples]
    answers = [builder.right_answer(p, e) for p, e in zip(prompts, examples)]

    def gradients(recompute: bool) -> dict[str, Tensor]:
        wire.bridge.zero_grad()
        soft = wire.bridge(states.states, states.mask)
        with recomputed_blocks(wire.receiver.lm, recompute):
            _answer_loss(wire.receiver, prompts, answers, soft).backward()
        return {n: p.grad for n, p in wire.bridge.named_parameters() if p.grad is not None}

    kept, again = gradients(False), gradients(True)
    assert kept.keys() == dict(wire.bridge.named_parameters()).keys()
    assert all(bool(gradient.abs().sum() > 0) for gradient in kept.values())
    assert all(torch.allclose(kept[n], again[n], atol=1e-5, rtol=1e-4) for n in kept)


def test_deep_prefix_trains_with_recomputation(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    settings = {"steps": 2, "batch_size": 4, "val_limit": 3, "loss": "answer+reconstruction"}
    found = []
    for recompute in (False, True):
        wire, out = fake_wire(bridge="deep_prefix"), tmp_path / str(recompute)
        task = make_task(8)
        train_bridge(wire, task, out, progress=Progress(), recompute=recompute, **settings)
        found.append(wire.bridge.anchors.detach())
    assert torch.allclose(*found, atol=1e-4)


def test_deep_prefix_refuses_objectives_in_units_of_embeddings(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    wire, config = fake_wire(bridge="deep_prefix"), TrainConfig.of(loss="answer+norm+0.1*vib")
    words = r"norm, vib compares .* deep prefix.*one of: answer, .*kd_sender, reconstruction"
    with pytest.raises(ConfigError, match=words):
        train_bridge(wire, make_task(8), tmp_path / "run", config=config, progress=Progress())
    assert not (tmp_path / "run").exists()
