"""The fast path gives the answers of the slow one, in no more passes than needed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from latentwire import Task, Wire, load_task
from latentwire.core.errors import UsageError
from latentwire.models import MESSAGE_MARK, Receiver, load_model

_NAMES = """\
name: names
version: 1
kind: generation
metric: exact_match
source: {files: {train: train.jsonl, val: val.jsonl, test: test.jsonl}}
example: {context: "{text}", question: "{asked}", references: name}
prompts: ["{context}\\nQ: {question}\\nA:", "{context} {question}:", "{context}\\n{question}\\n="]
relay_prompts: ["Note on {question}: {context}", "Sum up: {context}", "Facts of: {context}"]
sender_prompt_aware: "{question} {context}\\nAnswer:"
max_context_tokens: 40
max_new_tokens: 12
stop: ["\\n"]
"""
MODELS = pytest.mark.parametrize("name", ["fake-llama", "fake-gemma"])


@pytest.fixture
def names(tmp_path: Path) -> Task:
    """Answers of this task are written."""
    row = json.dumps({"text": "A text by Ann.", "asked": "who?", "name": "Ann"})
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.jsonl").write_text(row + "\n")
    (tmp_path / "names.yaml").write_text(_NAMES)
    return load_task(tmp_path / "names.yaml")


@MODELS
def test_one_pass_ranks_choices_of_any_length(name: str) -> None:
    lm = load_model(name)
    receiver = Receiver(lm)
    prompts = [lm.prompt(f"{MESSAGE_MARK}\n{text} is") for text in ("a", "a longer one")]
    choices = [[(7,), (9, 11, 30), (30, 31)], [(5, 6), (9,)]]
    soft = torch.randn(2, 4, lm.width)
    whole = receiver.score_choices(prompts, choices, soft)
    quick = receiver.score_choices(prompts, choices, soft, ranking_only=True)
    for a, b in zip(whole, quick):
        assert torch.allclose(a.log_softmax(-1), b, atol=1e-4)


def test_one_answer_is_one_pass_through_each_model(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task]
) -> None:
    wire = fake_wire()
    wire.task = make_task()
    wire.answer("warm up")
    passes: Counter[str] = Counter()
    for role in ("sender", "receiver"):
        for i, block in enumerate(getattr(wire, role).lm.model.base_model.layers):
            block.register_forward_hook(lambda *_, key=f"{role} {i}": passes.update([key]))
    wire.answer("fire and blood")
    assert passes == {
        f"{role} {i}": 1 for role, n in (("sender", 2), ("receiver", 3)) for i in range(n)
    }


def test_many_texts_get_the_answers_of_single_calls(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task]
) -> None:
    wire = fake_wire()
    wire.bridge.eval()
    wire.task = make_task()
    texts = [("fire " * (i % 7 + 1)) + f"rain {i}" for i in range(40)]
    for text, answer in zip(texts, wire.answer(texts)):
        assert answer.scores == pytest.approx(wire.answer(text).scores, abs=1e-3)


def test_a_prompt_around_a_message_is_tokenised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = load_model("fake-llama")
    first = lm.prompt(f"Text: {MESSAGE_MARK}\nKind:", "Text: ")
    monkeypatch.setattr(lm, "tokenizer", None)
    assert lm.prompt(f"Text: {MESSAGE_MARK}\nKind:", "Text: ") is first


@MODELS
@pytest.mark.parametrize("stop", [(), ("e",), ("ab", "\n", "x y")])
def test_pieces_are_the_written_text(name: str, stop: tuple[str, ...]) -> None:
    lm = load_model(name)
    receiver = Receiver(lm)
    for text in ("rose", "what is this?", "Ann"):
        prompt = lm.prompt(f"{text}\n{MESSAGE_MARK}:")
        soft = torch.randn(1, 4, lm.width)
        (whole,) = receiver.write([prompt], soft, max_new_tokens=24, stop=stop)
        pieces = list(receiver.stream_text(prompt, soft, max_new_tokens=24, stop=stop))
        assert "".join(pieces) == whole and all(pieces)


def test_a_wire_streams_what_it_answers(
    fake_wire: Callable[..., Wire], names: Task, make_task: Callable[..., Task]
) -> None:
    wire = fake_wire()
    wire.bridge.eval()
    wire.task = names
    assert (
        "".join(wire.stream("A text by Ann.", "who?"))
        == wire.answer("A text by Ann.", "who?").label
    )
    wire.task = make_task()
    with pytest.raises(UsageError, match="no text to stream"):
        wire.stream("fire")


@MODELS
def test_no_text_ends_before_its_least_length(name: str) -> None:
    lm = load_model(name)
    prompts = [lm.prompt("rose"), lm.prompt("a much longer prompt")]
    for row in zip(*Receiver(lm).stream(prompts, max_new_tokens=9, min_new_tokens=9, stop=("e",))):
        assert None not in row and not {*row} & {*lm.end_ids}
