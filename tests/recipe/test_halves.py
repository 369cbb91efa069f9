"""Encoder and decoder on their own: what they load, what they send, what they answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentwire import Decoder, Encoder, Example, Message, Task, Wire, load_task, train_bridge
from latentwire.core.errors import (
    BridgeError,
    MessageError,
    PairMismatchError,
    UnknownNameError,
    UsageError,
)
from latentwire.core.progress import Progress
from latentwire.data.metrics import Response
from latentwire.models import MESSAGE_MARK, Prompt, SenderStates, load_model
from latentwire.prompting.builder import Request
from latentwire.wire.codecs import CODECS
from latentwire.wire.encoder import send_to_all

TEXTS = ["fire and rose 3", "sea and rain", "lake", "blood and flame and rose and fire"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def wire(fake_wire: Callable[..., Wire], make_task: Callable[..., Task]) -> Wire:
    """A wire between the fakes that answers a task, untrained."""
    made = fake_wire()
    made.task = make_task()
    return made


@pytest.fixture
def run(wire: Wire, tmp_path: Path) -> Path:
    """Folder of that wire."""
    wire.save(tmp_path / "run" / "bridge")
    return tmp_path / "run"


def _on_disk(name: str, folder: Path) -> str:
    """A fake model as a local folder."""
    lm = load_model(name)
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return str(folder)


def test_halves_load_without_the_weights_of_the_other(
    own_cache: Path, make_task: Callable[..., Task], tmp_path: Path
) -> None:
    sender, receiver = tmp_path / "sender-model", tmp_path / "receiver-model"
    wire = Wire.build(
        _on_disk("fake-llama", sender), _on_disk("fake-gemma", receiver), soft_tokens=4, layer=2
    )
    train_bridge(wire, make_task(16), tmp_path / "run", progress=Progress(), steps=2, batch_size=4)
    wanted = wire.answer(TEXTS)
    shutil.rmtree(receiver)
    messages = Encoder.from_pretrained(tmp_path / "run").encode(TEXTS)
    with pytest.raises(UnknownNameError, match="receiver-model"):
        Decoder.from_pretrained(tmp_path / "run")
    _on_disk("fake-gemma", receiver)
    shutil.rmtree(sender)
    (tmp_path / "run" / "bridge" / "model.safetensors").unlink()
    decoder = Decoder.from_pretrained(tmp_path / "run")
    assert decoder.answer(messages) == wanted
    with pytest.raises(BridgeError, match="is missing or damaged"):
        Encoder.from_pretrained(tmp_path / "run")


def test_two_processes_give_the_answers_of_one_wire(run: Path) -> None:
    script = ROOT / "benchmarks" / "two_halves.py"
    done = subprocess.run(
        [sys.executable, str(script), "--run", str(run), "--n", "12", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["n"] == found["equal_answers"] == 12 and found["largest_score_difference"] == 0
    assert found["processes"]["encoder"]["models"] == ["fake-llama"]
    assert found["processes"]["decoder"]["models"] == ["fake-gemma"]
    assert all(process["peak_mb"] > 0 for process in found["processes"].values())


def test_runs_of_older_versions_load_as_halves(run: Path, wire: Wire) -> None:
    path = run / "bridge" / "config.json"
    config = json.loads(path.read_text())
    del config["writes"]
    for side, keys in (("sender", ["tokenizer"]), ("receiver", ["tokenizer", "soft_width"])):
        for key in keys:
            del config[side][key]
    config["wire"]["encoding"] = config["wire"].pop("codec")
    path.write_text(json.dumps(config))
    encoder, decoder = Encoder.from_pretrained(run), Decoder.from_pretrained(run)
    assert decoder.answer(encoder.encode(TEXTS)) == wire.answer(TEXTS)
    assert Wire(encoder, decoder).answer(TEXTS) == wire.answer(TEXTS)


def test_halves_refuse_another_model(run: Path, fake_wire: Callable[..., Wire]) -> None:
    with pytest.raises(PairMismatchError, match="trained for the sender 'fake-llama'"):
        Encoder.from_pretrained(run, sender="fake-gemma")
    with pytest.raises(PairMismatchError, match="trained for the receiver 'fake-gemma'"):
        Decoder.from_pretrained(run, receiver="fake-llama")
    other = load_model("fake-gemma")
    other.tokenizer.chat_template = "{{ messages }}"
    with pytest.raises(PairMismatchError, match="tokenizer or chat template of 'fake-gemma'"):
        Decoder.from_pretrained(run, receiver=other)
    with pytest.raises(PairMismatchError, match="Load both from one run"):
        Wire(Encoder.from_pretrained(run), fake_wire(seed=5).decoder)


@pytest.mark.parametrize("codec", CODECS.names())
def test_encoder_sends_what_a_reader_of_its_bytes_gets(wire: Wire, codec: str) -> None:
    coarse = wire.with_codec(codec)
    states = wire.sender.encode(TEXTS, (2,))
    coarse.fit_lowrank(states, 6)
    messages = coarse.encoder.encode(TEXTS)
    for message, soft in zip(messages, wire.soft_tokens_of(TEXTS), strict=True):
        data = message.to_bytes()
        assert message.n_bytes == len(data)
        assert torch.equal(coarse.read(data).soft, message.soft)
        # The bytes are those of soft tokens that were not rounded before.
        plain = Message(
            soft, message.bridge, codec, message.sender, message.receiver, message.basis
        )
        assert plain.to_bytes() == data


def test_encoder_serialises_nothing(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("a message was serialised")

    monkeypatch.setattr(Message, "to_bytes", refuse)
    monkeypatch.setattr(Message, "from_payload", refuse)
    assert len(wire.answer(TEXTS)) == len(wire.receive(wire.encoder.encode(TEXTS))) == 4


def test_encoder_states_whether_a_text_was_cut(wire: Wire) -> None:
    messages = wire.encoder.encode(["fire", "fire " * 60])
    assert [message.truncated for message in messages] == [False, True]
    assert [a.truncated for a in wire.decoder.answer(messages)] == [False, True]
    (answer,) = wire.decoder.answer([messages[1].to_bytes()])
    assert answer.truncated is None
    assert wire.encoder.encode("fire")[0].n_bytes == messages[0].n_bytes


def test_decoder_scores_given_choices(wire: Wire) -> None:
    messages, decoder = wire.encoder.encode(TEXTS), wire.decoder
    labels = decoder.answer(messages)
    assert decoder.answer(messages, choices=["red", "blue"]) == labels
    own = [["hot", "cold"], ["wet", "dry", "hot"], ["red", "blue"], ["one", "two"]]
    answers = decoder.answer(messages, choices=own)
    for answer, choices, label in zip(answers, own, labels, strict=True):
        assert list(answer.scores) == choices and answer.label in choices
        assert sum(answer.scores.values()) == pytest.approx(1)
        same = answer.scores == pytest.approx(label.scores, abs=1e-6)
        assert same == (choices == ["red", "blue"])
    with pytest.raises(UsageError, match=r"one list of choices per text; given: 1 for 4"):
        decoder.answer(messages, choices=[["red", "blue"]])
    assert wire.answer("fire", choices=["hot", "cold"]).label in ("hot", "cold")


_NAMES = """\
name: names
version: 1
kind: generation
metric: exact_match
source: {files: {train: names.jsonl, val: names.jsonl, test: names.jsonl}}
example: {context: "{text}", question: "{asked}", references: name}
prompts: ["{context}\\nQ: {question}\\nA:", "{context} {question}:", "{context}\\n{question}\\n="]
relay_prompts: ["Note on {question}: {context}", "Sum up: {context}", "Facts of: {context}"]
sender_prompt_aware: "{question} {context}\\nAnswer:"
max_context_tokens: 40
max_new_tokens: 12
"""


@pytest.fixture
def names(tmp_path: Path) -> Task:
    """A task whose answers are written."""
    row = {"text": "A text by Ann.", "asked": "who?", "name": "Ann"}
    (tmp_path / "names.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "names.yaml").write_text(_NAMES)
    return load_task(tmp_path / "names.yaml")


def test_decoder_writes_where_a_task_has_no_choices(wire: Wire, names: Task) -> None:
    wire.task = names
    (message,) = wire.encoder.encode(["A text by Ann."])  # in `split` the receiver is asked
    (whole,) = wire.decoder.answer([message], ["who?"])
    assert whole == wire.answer("A text by Ann.", "who?") and whole.scores == {}
    (short,) = wire.decoder.answer([message], ["who?"], max_new_tokens=3)
    assert whole.label.startswith(short.label) and len(short.label) < len(whole.label)
    (chosen,) = wire.decoder.answer([message], ["who?"], choices=["Ann", "Bob"])
    assert set(chosen.scores) == {"Ann", "Bob"}
    assert "".join(wire.decoder.stream(message, "who?")) == whole.label
    with pytest.raises(UsageError, match=r"takes one question for each text; given: 1 text"):
        wire.decoder.answer([message])


def test_halves_need_a_question_where_they_read_it(wire: Wire, names: Task) -> None:
    wire.task, wire.spec = names, type(wire.spec)(**{**vars(wire.spec), "setting": "blind"})
    with pytest.raises(UsageError, match="takes one question for each text"):
        wire.encoder.encode(["A text by Ann."])
    messages = wire.encoder.encode(["A text by Ann."], ["who?"])
    assert wire.decoder.answer(messages) == wire.decoder.answer(messages, ["who?"])
    wire.spec = type(wire.spec)(**{**vars(wire.spec), "setting": "shared"})
    messages = wire.encoder.encode(["A text by Ann."], ["who?"])
    with pytest.raises(UsageError, match="the receiver also reads the text"):
        wire.decoder.answer(messages, ["who?"])


def test_decoder_refuses_messages_of_another_encoder(
    wire: Wire, fake_wire: Callable[..., Wire]
) -> None:
    other = fake_wire(seed=7)
    other.task = wire.task
    (message,) = other.encoder.encode(["fire"])
    for each in (message, message.to_bytes()):
        with pytest.raises(MessageError, match=f"from bridge {other.fingerprint}"):
            wire.decoder.answer([each])
        assert wire.decoder.answer([each], bridges=[other.fingerprint])
    assert wire.decoder.answer([]) == []


def test_wire_follows_its_bridge(wire: Wire) -> None:
    before = wire.encoder.encode(["fire"])
    with torch.no_grad():
        wire.bridge.anchors.add_(1.0)
    after = wire.encoder.encode(["fire"])
    assert before[0].bridge != after[0].bridge == wire.fingerprint
    assert wire.decoder.answer(after) == [wire.answer("fire")]
    with pytest.raises(MessageError, match="from bridge"):
        wire.decoder.answer(before)


def test_replace_leaves_the_wire_as_it_is(wire: Wire) -> None:
    task, spec = wire.task, wire.spec
    other = wire.replace(task=None, prompts={"colours": "{context}!"})
    assert wire.task is task and wire.prompts == {} and wire.spec is spec
    assert other.bridge is wire.bridge and other.task is None


def test_send_to_all_takes_encoders_and_wires(wire: Wire) -> None:
    first, second = send_to_all([wire, wire.encoder], TEXTS)
    for mine, its, alone in zip(first, second, wire.send(TEXTS), strict=True):
        assert torch.equal(mine.soft, its.soft) and torch.equal(mine.soft, alone.soft)


CARRIERS = (Example, SenderStates, Tensor, np.ndarray, Message, Prompt, Request, Response)
"""Types of what a text becomes on its way to a label."""


def _carries(value: Any, text: str) -> bool:
    if isinstance(value, str):
        return text in value or MESSAGE_MARK in value
    if isinstance(value, (list, tuple)):
        return bool(value) and _carries(value[0], text)
    return isinstance(value, CARRIERS)


def test_a_text_passes_few_calls_and_files(wire: Wire) -> None:
    """Count the calls that hand a text on, from `Wire.answer` to its label, on a warm wire.

    Counted is each distinct function of latentwire that is entered with the text, or with what
    the text has become (example, states, soft tokens, message, prompt, request, response), among
    its arguments. Functions inside models/ and bridge/ (passes and tokenizers) and data/ (words of
    the task) are not counted, nor are functions that are not given the text, such as look-ups.
    Counted this way there are 15 calls in 6 files.
    """
    text, calls = "rose and blood 3", dict[tuple[str, str], None]()
    wire.answer("fire"), wire.answer("sea")
    package = ROOT / "latentwire"

    def profile(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        path = Path(code.co_filename)
        if event != "call" or package not in path.parents or code.co_name.startswith("<"):
            return
        if path.relative_to(package).parts[0] in ("models", "bridge", "data"):
            return
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if any(_carries(frame.f_locals[name], text) for name in names if name != "self"):
            calls[str(path.relative_to(package)), code.co_name] = None

    sys.setprofile(profile)
    try:
        wire.answer(text)
    finally:
        sys.setprofile(None)
    assert len(calls) <= 15, list(calls)
    assert len({file for file, _ in calls}) <= 6, list(calls)
