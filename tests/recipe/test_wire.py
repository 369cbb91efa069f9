"""The whole channel on fakes: answers, messages, reloads, mismatches, evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from latentwire import Task, Wire, evaluate, train_bridge
from latentwire.asking import Asker
from latentwire.errors import BridgeError, MessageError, PairMismatchError, UsageError
from latentwire.message import Message
from latentwire.models import load_model
from latentwire.progress import Progress


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
    assert len(found["methods"]["zeroshot_sender"]["settings"]["val_score_by_prompt"]) >= 3
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
    (response,) = wire.receive([Message.from_bytes(message.to_bytes())])
    shares = dict(zip(task.labels, torch.tensor(response.scores).softmax(-1).tolist()))
    assert shares == pytest.approx(wire.answer(text).scores, abs=1e-5)


def test_a_foreign_message_is_refused(trained: tuple[Wire, Task, Path]) -> None:
    wire, _, _ = trained
    with pytest.raises(MessageError, match="made by bridge other"):
        wire.receive([Message(torch.zeros(4, 48), "other")])


def test_empty_texts_and_untrained_wires(
    trained: tuple[Wire, Task, Path], fake_wire: Callable[..., Wire]
) -> None:
    with pytest.raises(UsageError, match="text is empty"):
        trained[0].answer("  \n")
    with pytest.raises(UsageError, match="not trained yet"):
        fake_wire().answer("fire")


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
        asker = Asker(one, lm, one.prompts[0])
        for example in one.split("test"):
            (request,) = asker.hand(example)
            assert example.target is not None
            wanted = lm.answer_ids(request.prompt, right[example.target])
            assert asker.right_answer(request.prompt, example) == wanted
            assert request.answers[example.target] == wanted


def test_a_sample_is_seeded_and_said(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task]
) -> None:
    pair = fake_wire().sender.lm, fake_wire().receiver.lm
    task = make_task()
    results = evaluate(
        pair, task, methods=["zeroshot_receiver"], limit=10, timed=0, progress=Progress()
    )
    assert results.n == 10 and "a seeded random sample of 10 test examples" in results.notes
    with pytest.raises(UsageError, match="needs a trained bridge"):
        evaluate(pair, task, methods=["bridge"], progress=Progress())
