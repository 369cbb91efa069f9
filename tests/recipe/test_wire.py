"""The whole channel on fakes: answers, messages, reloads, mismatches, evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from latentwire import Task, Wire, evaluate, train_bridge
from latentwire.core.errors import BridgeError, MessageError, PairMismatchError, UsageError
from latentwire.core.progress import Progress
from latentwire.eval.context import Context
from latentwire.models import Sender, load_model
from latentwire.prompting.builder import PromptBuilder
from latentwire.wire.codecs import CODECS
from latentwire.wire.contract import ModelIdentity
from latentwire.wire.encoder import send_to_all
from latentwire.wire.header import Limits
from latentwire.wire.message import Message


@pytest.fixture
def trained(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> tuple[Wire, Task, Path]:
    """A wire that has learned the colour task well."""
    task, wire, out = make_task(64), fake_wire(), tmp_path / "run"
    train_bridge(wire, task, out, progress=Progress(), steps=80, batch_size=16, lr=5e-3)
    return wire, task, out


def test_answers_reload_and_controls(trained: tuple[Wire, Task, Path], tmp_path: Path) -> None:
    wire, task, out = trained
    text = "test item 3 shows rose fire"
    answer = wire.answer(text)
    assert answer.label in task.labels and not answer.truncated
    assert sum(answer.scores.values()) == pytest.approx(1)
    assert wire.answer([text, "rain"])[0].label == answer.label
    assert wire.answer("fire " * 40).truncated

    again = Wire.from_pretrained(out)
    assert again.fingerprint == wire.fingerprint
    assert again.answer(text).scores == pytest.approx(answer.scores, abs=1e-5)

    found = evaluate(
        again, task, out_dir=out, timed=1, relay_limit=6, progress=Progress()
    ).to_json()
    assert found["methods"]["bridge"]["accuracy"]["value"] >= 0.9
    for control in ("zero", "random", "shuffled"):
        assert abs(found["methods"][control]["accuracy"]["value"] - 0.5) <= 0.25
        assert found["methods"][control]["ms_per_example"] is None
    assert found["methods"]["linear_probe"]["accuracy"]["value"] >= 0.9
    assert found["methods"]["text_relay"]["accuracy"]["n"] == 6
    assert any("seeded random sample of 6 of the 24" in note for note in found["notes"])
    assert found["methods"]["bridge"]["ms_per_example"]["p50"] > 0
    chosen = found["methods"]["zeroshot_sender"]["settings"]
    for form in ("chat turn", "plain text"):
        assert sum(each["form"] == form for each in chosen["val_score"]) >= 3
    assert any("prompt a chat model with a chat turn" in note for note in found["notes"])
    assert any("divide the probability of each label" in note for note in found["notes"])
    majority = "majority-class accuracy: 50.0 % (always 'blue')"
    assert majority in found["notes"]
    assert {c["b"] for c in found["comparisons"]} == set(found["methods"]) - {"bridge"}
    assert json.loads((out / "results.json").read_text()) == found
    rows = [
        json.loads(line) for line in (out / "predictions.bridge.jsonl").read_text().splitlines()
    ]
    assert len(rows) == 24 and {"id", "prediction", "target", "correct", "scores"} <= rows[0].keys()


def test_a_message_is_what_travels(trained: tuple[Wire, Task, Path]) -> None:
    wire, task, _ = trained
    text = "val item 2 shows sea"
    (message,) = wire.send([text])
    assert message.bridge == wire.fingerprint and message.soft.shape == (4, 48)
    assert message.sender == f"fake-llama@{wire.sender.lm.fingerprint}"
    assert message.receiver == f"fake-gemma@{wire.receiver.lm.fingerprint}"
    assert torch.equal(wire.send(text).soft, message.soft)
    (response,) = wire.receive([Message.from_bytes(message.to_bytes())])
    assert wire.receive([message.to_bytes()]) == [response]
    shares = dict(zip(task.labels, torch.tensor(response.scores).softmax(-1).tolist()))
    assert shares == pytest.approx(wire.answer(text).scores, abs=1e-5)


def test_a_foreign_message_is_refused(trained: tuple[Wire, Task, Path]) -> None:
    wire, _, _ = trained
    with pytest.raises(MessageError, match="from bridge other"):
        wire.receive([Message(torch.zeros(4, 48), "other")])
    with pytest.raises(MessageError, match="from bridge other"):
        wire.read(Message(torch.zeros(4, 48), "other").to_bytes())
    with pytest.raises(MessageError, match="is for the receiver x@1; this wire's is fake-gemma@"):
        wire.receive([Message(torch.zeros(4, 48), wire.fingerprint, receiver="x@1")])
    with pytest.raises(MessageError, match=r"have width 32; fake-gemma@.* reads 48"):
        wire.receive([Message(torch.zeros(4, 32), wire.fingerprint)])
    with pytest.raises(MessageError, match=r"have \(3, 48\), \(4, 48\)"):
        wire.receive([Message(torch.ones(k, 48), wire.fingerprint) for k in (4, 3)])
    wire.limits = Limits(max_tokens=3)
    with pytest.raises(MessageError, match="n_tokens is '4'; 1 to 3 are allowed"):
        wire.read(wire.send("fire").to_bytes())


def test_every_codec_answers_and_reports_its_bytes(trained: tuple[Wire, Task, Path]) -> None:
    wire, task, _ = trained
    silent = {"timed": 0, "progress": Progress()}
    sizes = {}
    for codec in CODECS.names():
        found = evaluate(wire, task, methods=["bridge", "shuffled"], codec=codec, **silent)
        row = found.methods["bridge"]
        assert row.accuracy is not None and row.accuracy.value >= 0.9
        assert found.asked["codec"] == codec
        assert any(f"messages are written as {codec}" in note for note in found.notes)
        assert found.methods["shuffled"].n_bytes == row.n_bytes
        sizes[codec] = row.n_bytes
    assert wire.spec.codec == "fp16" and wire.basis is None
    assert sizes["fp32"] - sizes["fp16"] == 4 * 48 * 2 == 384  # header, four tokens, width 48
    assert sizes["bf16"] == pytest.approx(sizes["fp16"], abs=8)
    assert len(wire.send("fire").to_bytes()) == sizes["fp16"]
    with pytest.raises(UsageError, match="Did you mean 'int8'"):
        wire.with_codec("int9")
    with pytest.raises(UsageError, match="Give --run"):
        evaluate((wire.sender.lm, wire.receiver.lm), task, codec="int8", **silent)


def test_what_is_scored_is_what_came_off_the_wire(trained: tuple[Wire, Task, Path]) -> None:
    wire, task, _ = trained
    coarse = wire.with_codec("int4")
    (example,) = task.split("test")[:1]
    states = wire.sender.encode(wire.sender_texts(task, [example])[0], wire.spec.layers)
    soft = wire.soft_tokens(states)
    data = coarse.pack(soft)[0].to_bytes()
    (wanted,) = wire.respond(task, [example], coarse.read(data).soft[None])
    (exact,) = wire.respond(task, [example], soft)
    context = Context(task, wire.sender, wire.receiver, coarse, layers=wire.spec.layers)
    (found,) = context.methods.prepared("bridge", Progress()).predict([example], Progress())
    assert found.n_bytes == len(data)
    assert found.scores == pytest.approx(wanted.scores, abs=1e-5)
    assert found.scores != pytest.approx(exact.scores, abs=1e-5)


def test_a_basis_is_fitted_once_and_saved_with_the_bridge(
    trained: tuple[Wire, Task, Path], tmp_path: Path
) -> None:
    wire, task, _ = trained
    wire = wire.with_codec("lowrank")
    assert wire.lacks_basis
    with pytest.raises(MessageError, match=r"Wire.fit_lowrank"):
        wire.send("fire")
    texts = [example.context for example in task.split("train")]
    states = [wire.sender.encode(texts[start : start + 16], (2,)) for start in (0, 16, 32, 48)]
    with pytest.raises(UsageError, match="rank of 1 to 48"):
        wire.fit_lowrank(states, 49)
    assert wire.fit_lowrank(states[0]).rank == 48
    basis = wire.fit_lowrank(states, 6)
    message = wire.send("fire")
    wire.save(tmp_path / "kept")
    again = Wire.from_pretrained(tmp_path / "kept")
    assert again.basis is not None and again.basis.fingerprint == basis.fingerprint
    assert torch.equal(again.read(message.to_bytes()).soft, message.soft)
    assert again.answer(texts).copy() == wire.answer(texts)
    plain = wire.with_codec("fp32").answer(texts)
    same = [a.label == b.label for a, b in zip(again.answer(texts), plain)]
    assert sum(same) / len(same) >= 0.9
    (tmp_path / "kept" / "lowrank.safetensors").unlink()
    with pytest.raises(BridgeError, match="is not a basis"):
        Wire.from_pretrained(tmp_path / "kept")


def test_many_senders_are_read_as_one_message(
    trained: tuple[Wire, Task, Path], fake_wire: Callable[..., Wire], make_task: Callable[..., Task]
) -> None:
    wire, task, _ = trained
    second = fake_wire(sender="fake-gemma", soft_tokens=2, seed=3)
    second.task = task
    one, two = wire.send("fire and rose"), second.send("sea")
    both = Message.join([one, two])
    assert both.soft.shape == (6, 48) and both.bridge == f"{wire.fingerprint}+{second.fingerprint}"
    with pytest.raises(MessageError, match=f"from bridge {second.fingerprint}"):
        wire.receive([both])
    (response,) = wire.receive([both.to_bytes()], bridges=[second.fingerprint])
    (wanted,) = wire.respond(task, task.split("test")[:1], both.soft[None])
    # A wire's answers are shares among the choices, an evaluation's whole log-likelihoods.
    shares = torch.tensor(wanted.scores).log_softmax(0).tolist()
    assert response.scores == pytest.approx(shares, abs=1e-5)
    back = fake_wire(sender="fake-gemma", receiver="fake-llama")
    back.task = task
    with pytest.raises(MessageError, match="Only messages for one receiver can be joined"):
        Message.join([one, back.send("sea")])


def test_one_reading_for_many_receivers(
    trained: tuple[Wire, Task, Path],
    fake_wire: Callable[..., Wire],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire, task, out = trained
    other = fake_wire(receiver="fake-llama", layer=[1, 3])
    other.task = task
    texts = ["fire and rose", "sea"]
    alone = [wire.send(texts), other.send(texts)]
    calls: list[tuple[int, ...]] = []
    run = Sender.run

    def counted(self: Sender, tokens: Tensor, mask: Any, layers: tuple[int, ...]) -> Tensor:
        calls.append((len(tokens), *layers))
        return run(self, tokens, mask, layers)

    monkeypatch.setattr(Sender, "run", counted)
    sent = send_to_all([wire, other.encoder], texts)
    assert calls == [(2, 1, 2, 3)]
    for mine, yours in zip(sent, alone):
        assert [m.receiver for m in mine] == [m.receiver for m in yours]
        for a, b in zip(mine, yours):
            assert torch.allclose(a.soft, b.soft, atol=2e-3)
    replica = Wire.from_pretrained(out)  # one message, several receivers of one model
    assert [r.scores for r in replica.receive(sent[0])] == [r.scores for r in wire.receive(sent[0])]
    with pytest.raises(UsageError, match="wires with the same sender; given: 2"):
        send_to_all([wire, fake_wire(sender="fake-gemma")], texts)


def test_a_message_does_not_tell_where_a_model_lies(fake_wire: Callable[..., Wire]) -> None:
    lm = fake_wire().sender.lm
    for name, wanted in (
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("/home/someone/models/my model", "my-model"),
        ("C:\\models\\mine", "mine"),
    ):
        lm.name = name
        assert str(ModelIdentity.of(lm)) == f"{wanted}@{lm.fingerprint}"


def test_empty_texts_and_untrained_wires(
    trained: tuple[Wire, Task, Path], fake_wire: Callable[..., Wire]
) -> None:
    with pytest.raises(UsageError, match="text to send is empty"):
        trained[0].answer("  \n")
    with pytest.raises(UsageError, match="not been trained"):
        fake_wire().answer("fire")


def test_no_texts_have_no_messages_and_no_answers(
    trained: tuple[Wire, Task, Path], fake_wire: Callable[..., Wire]
) -> None:
    wire, task, _ = trained
    assert wire.send([]) == wire.answer([]) == wire.answer(()) == wire.answer([], []) == []
    assert wire.read_all([]) == wire.receive([]) == wire.receive([], []) == []
    assert wire.soft_tokens_of([]).shape == (0, *wire.soft_tokens_of(["fire"]).shape[1:])
    assert wire.respond(task, [], wire.soft_tokens_of([])) == []
    assert send_to_all([wire, wire], []) == [[], []]
    with pytest.raises(UsageError, match=r"no questions; given: 0 text\(s\) and 1 question"):
        wire.answer([], ["why?"])
    for ask in (fake_wire().answer, fake_wire().send, fake_wire().receive):
        with pytest.raises(UsageError, match="not been trained"):
            ask([])


def test_a_wire_that_is_built_does_not_drop_out(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    wire, modes = fake_wire(), []
    assert not any(part.training for part in wire.bridge.modules())
    wire.bridge.register_forward_hook(lambda bridge, *_: modes.append(bridge.training))
    train_bridge(wire, make_task(16), tmp_path / "run", progress=Progress(), steps=2, batch_size=4)
    assert {True, False} == set(modes) and not wire.bridge.training


def test_a_compiled_bridge_answers_the_same(trained: tuple[Wire, Task, Path]) -> None:
    wire, _, _ = trained
    texts = ["fire and rose", "sea", "rain " * 40, "test item 3 shows rose fire"]
    plain, soft = wire.answer(texts), wire.soft_tokens_of(texts)
    wire.compile(mode=None, backend="eager")
    assert torch.allclose(wire.soft_tokens_of(texts), soft, atol=1e-5)
    for answer, before in zip(wire.with_codec("fp32").answer(texts), plain):
        assert answer.label == before.label
        assert answer.scores == pytest.approx(before.scores, abs=1e-3)
    assert wire.with_codec("int8").compiled is wire.compiled
    assert {*wire.bridge.state_dict()} == {*Wire.build(pair="fake").bridge.state_dict()}


def test_another_pair_is_refused(trained: tuple[Wire, Task, Path]) -> None:
    _, _, out = trained
    with pytest.raises(PairMismatchError, match="trained for the sender 'fake-llama'"):
        Wire.from_pretrained(out, sender="fake-gemma")
    with pytest.raises(PairMismatchError, match="trained for the receiver 'fake-gemma'"):
        Wire.from_pretrained(out, receiver="fake-llama")
    with pytest.raises(BridgeError, match="No bridge in"):
        Wire.from_pretrained(out / "nowhere")


@pytest.mark.parametrize(
    ("sender", "receiver"),
    [("fake-gemma", "fake-llama"), ("fake-llama", "fake-llama"), ("fake-gemma", "fake-gemma")],
)
def test_every_direction_trains(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    tmp_path: Path,
    sender: str,
    receiver: str,
) -> None:
    wire = fake_wire(sender=sender, receiver=receiver, layer=[1, 2], sender_prompt="aware")
    task = make_task(16)
    train_bridge(wire, task, tmp_path / "run", progress=Progress(), steps=2, batch_size=4)
    assert wire.answer("fire").label in task.labels
    if sender == receiver:
        assert wire.sender.lm is wire.receiver.lm


def test_what_is_trained_is_what_is_scored(make_task: Callable[..., Task]) -> None:
    lm, task = load_model("fake-gemma"), make_task()
    letters = Task(task.spec.model_copy(update={"kind": "letter"}), task.base)
    for one, right in ((task, ("red", "blue")), (letters, ("A", "B"))):
        builder = PromptBuilder(one, lm, one.prompts[0])
        for example in one.split("test"):
            (request,) = builder.build_handoff(example)
            assert example.target is not None
            wanted = lm.answer_ids(request.prompt, right[example.target])
            assert builder.right_answer(request.prompt, example) == wanted
            assert request.answers[example.target] == wanted


def test_a_sample_is_seeded_and_said(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task]
) -> None:
    pair = fake_wire().sender.lm, fake_wire().receiver.lm
    task = make_task()
    results = evaluate(
        pair, task, methods=["zeroshot_receiver"], limit=10, timed=0, progress=Progress()
    )
    assert results.n == 10 and "seeded random sample of 10 test examples" in results.notes
    with pytest.raises(UsageError, match="needs a trained bridge"):
        evaluate(pair, task, methods=["bridge"], progress=Progress())
