"""What each model reads: settings, sender prompts, truncation, chat turns, stop sequences."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from latentwire import Task, Wire, evaluate, load_task, train_bridge
from latentwire.core.errors import UnknownNameError, UsageError
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.models import LanguageModel, Receiver, load_model
from latentwire.models.decoding import cut_at_stop
from latentwire.prompting.builder import PromptBuilder, sender_texts
from latentwire.prompting.scoring import respond

BOOLQ = Example("1", "Ice is water.", "is ice cold", ("no", "yes"), 1, ("yes",))
GEMMA = "fake-gemma"  # asked in plain text; fake-llama has a chat template


@pytest.fixture
def boolq() -> Task:
    return load_task("boolq")


def _handed(task: Task, lm: LanguageModel, example: Example, setting: Any) -> str:
    template = task.handoff_prompts(task.setting(setting))[0]
    (request,) = PromptBuilder(task, lm, template, None, setting).build_handoff(example, "<SOFT>")
    return str(lm.tokenizer.decode(list(request.prompt.before), skip_special_tokens=True))


@pytest.mark.parametrize(
    ("setting", "sent", "handed"),
    [
        ("split", "Ice is water.", "<SOFT>\nQuestion: is ice cold?\nAnswer:"),
        ("blind", "Ice is water.\nQuestion: is ice cold?", "<SOFT>\nAnswer:"),
        (
            "shared",
            "Ice is water.\nQuestion: is ice cold?",
            "<SOFT>\nIce is water.\nQuestion: is ice cold?\nAnswer:",
        ),
    ],
)
def test_three_settings_of_a_passage_task(
    boolq: Task, setting: Any, sent: str, handed: str
) -> None:
    lm = load_model(GEMMA)
    texts, _ = sender_texts(boolq, lm, [BOOLQ], "raw", None, setting)
    assert texts == [sent]
    assert _handed(boolq, lm, BOOLQ, setting) == handed


def test_settings_of_a_task_without_questions() -> None:
    lm, task = load_model(GEMMA), load_task("sst2")
    example = Example("1", "a joy", "", ("negative", "positive"), 1, ("positive",))
    assert task.setting() == "blind" and load_task("boolq").setting() == "split"
    assert _handed(task, lm, example, "blind").endswith("Review: <SOFT>\nSentiment:")
    shared = _handed(task, lm, example, "shared")
    assert shared.startswith("<SOFT>\n") and shared.endswith("Review: a joy\nSentiment:")
    with pytest.raises(UsageError, match="does not support the setting 'split'"):
        task.setting("split")
    with pytest.raises(UnknownNameError, match=r"Unknown setting 'blnd'\. Did you mean 'blind'"):
        task.setting("blnd")  # type: ignore[arg-type]


def test_a_reader_reads_the_same_in_every_setting(boolq: Task) -> None:
    lm = load_model(GEMMA)
    read = {
        setting: PromptBuilder(boolq, lm, boolq.prompts[0], None, setting).build(BOOLQ)
        for setting in ("split", "blind", "shared")  # type: ignore[attr-defined]
    }
    assert read["split"] == read["blind"] == read["shared"]


def test_the_aware_sender_of_a_chat_model_gets_a_turn(boolq: Task) -> None:
    chat, plain = load_model("fake-llama"), load_model(GEMMA)
    wanted = "Question: is ice cold?\nPassage: Ice is water.\nAnswer:"
    assert sender_texts(boolq, plain, [BOOLQ], "aware")[0] == [wanted]
    assert sender_texts(boolq, chat, [BOOLQ], "aware")[0] == [chat.render_turn(wanted)]
    assert chat.render_turn(wanted) != wanted
    assert sender_texts(boolq, chat.without_chat(), [BOOLQ], "aware")[0] == [wanted]


def test_bos_is_never_doubled() -> None:
    lm = load_model(GEMMA)
    bos = lm.tokenizer.bos_token
    once = lm.token_ids("hi", special=True)
    assert lm.token_ids(f"{bos}hi", special=True) == once and once.count(once[0]) == 1


@pytest.mark.parametrize("setting", ["blind", "split", "shared"])
def test_passages_are_cut_and_questions_are_not(boolq: Task, setting: Any) -> None:
    lm = load_model(GEMMA)
    long = Example("1", "Ice is water. " * 80, "is ice cold", ("no", "yes"), 1, ("yes",))
    (text,), (cut,) = sender_texts(boolq, lm, [long], "raw", 40, setting)
    assert cut and len(lm.token_ids(text)) <= 44
    assert text.endswith("\nQuestion: is ice cold?") == (setting != "split")
    builder = PromptBuilder(boolq, lm, boolq.prompts[0], 40, setting)
    read = lm.tokenizer.decode(list(builder.build(long)[0].prompt.before), skip_special_tokens=True)
    assert read.endswith("\nQuestion: is ice cold?\nAnswer:")
    assert len(builder.lm.token_ids(read)) <= 40 + len(
        lm.token_ids("\nQuestion: is ice cold?\nAnswer:")
    )


def test_listed_choices_are_never_cut() -> None:
    lm, task = load_model(GEMMA), load_task("arc_easy")
    tail = "A. a rock\nB. a fish"
    example = Example(
        "1", f"{'Which swims? ' * 60}\n{tail}", "", ("a rock", "a fish"), 1, ("a fish",), tail
    )
    cut, was_cut = PromptBuilder(task, lm, task.prompts[0], 48).cut(example)
    assert was_cut and cut.context.endswith(f"\n{tail}") and len(lm.token_ids(cut.context)) <= 50


def test_the_filled_form_scores_the_same_words_behind_each_option() -> None:
    lm, task = load_model(GEMMA), load_task("winogrande")
    example = Example(
        "1",
        "The cup beat the jug as the _ is light.\nA. cup\nB. jug",
        "",
        ("cup", "jug"),
        0,
        ("cup",),
        contexts=("The cup beat the jug as the cup", "The cup beat the jug as the jug"),
        continuation="is light.",
    )
    assert "{filled}" in task.reader_prompts
    requests = PromptBuilder(task, lm, "{filled}").build(example)
    assert len(requests) == 2 and len(set(requests[0].answers + requests[1].answers)) == 1
    (response,) = respond(Receiver(lm), task, [requests])
    receiver = Receiver(lm)
    for request, score in zip(requests, response.scores):
        (alone,) = receiver.score_choices([request.prompt], [request.answers])
        assert float(alone[0]) == pytest.approx(score, abs=1e-4)


def test_stop_sequences() -> None:
    assert cut_at_stop("\n Oslo\nQuestion", ["\n"]) == "Oslo"
    assert cut_at_stop("Oslo", ["\n"]) is None
    assert cut_at_stop("Question: x", ["\n", "Question:"]) == ""
    assert cut_at_stop("a b c", ["c", "b"]) == "a "


@pytest.mark.parametrize("name", ["fake-llama", "fake-gemma"])
def test_writing_ends_at_a_stop_and_rows_do_not_disturb_each_other(name: str) -> None:
    receiver = Receiver(load_model(name))
    prompts = [receiver.lm.prompt(text) for text in ("one", "two of them", "?")]
    whole = receiver.write(prompts, max_new_tokens=24)
    stop = next(c for c in whole[0][1:] if c.strip())  # a character the first row writes
    stopped = receiver.write(prompts, max_new_tokens=24, stop=[stop])
    for text, short in zip(whole, stopped):
        cut = cut_at_stop(text, [stop])
        assert short == (text if cut is None else cut).strip()
    assert len(receiver.generate(prompts[:1], max_new_tokens=24, stop=[stop])[0]) < 24


_NAMES = """\
name: names
version: 1
kind: generation
metric: exact_match
source: {files: {train: train.jsonl, val: val.jsonl, test: test.jsonl}}
example: {context: "{text}", question: "{asked}", references: name}
prompts:
  - "{context}\\nQuestion: {question}\\nAnswer:"
  - "{context}\\n{question} Answer:"
  - "Text: {context}\\nQ: {question}\\nA:"
relay_prompts:
  - "Note on {question}: {context}\\nNote:"
  - "Sum up: {context}\\nSummary:"
  - "Facts of: {context}\\nFacts:"
sender_prompt_aware: "{question} {context}\\nAnswer:"
max_context_tokens: 40
max_new_tokens: 2
stop: ["\\n"]
"""


@pytest.fixture
def names(tmp_path: Path) -> Task:
    """Whose text is it? The answer is a letter in the text: written, not chosen."""
    start = 0
    for split, count in (("train", 24), ("val", 6), ("test", 8)):
        rows = []
        for i in range(start, start + count):
            name = ("L", "K")[i % 2]
            rows.append({"text": f"{name} has {i} coins", "asked": "Who?", "name": name})
        start += count
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{split}.jsonl").write_text(lines)
    (tmp_path / "names.yaml").write_text(_NAMES)
    return load_task(tmp_path / "names.yaml")


def test_a_bridge_learns_to_make_the_receiver_write(
    names: Task, fake_wire: Callable[..., Wire], tmp_path: Path
) -> None:
    wire = fake_wire()
    train_bridge(
        wire, names, tmp_path / "run", progress=Progress(), steps=200, batch_size=12, lr=5e-3
    )
    answer = wire.answer("L has 90 coins", "Who?")
    assert answer.label == "L" and answer.scores == {}
    both = wire.answer(["L has 91 coins", "K has 92 coins"], ["Who?", "Who?"])
    assert [a.label for a in both] == ["L", "K"]
    with pytest.raises(UsageError, match=r"takes one question for each text; given: 1 text"):
        wire.answer("L has 90 coins")
    found = evaluate(
        wire, names, out_dir=tmp_path / "run", timed=1, prompt_val_limit=2, progress=Progress()
    ).to_json()
    assert found["metric"] == "exact_match" and found["asked"]["setting"] == "split"
    assert "linear_probe" not in found["methods"]  # there is nothing to classify
    assert found["methods"]["bridge"]["accuracy"]["value"] >= 0.75
    assert found["methods"]["shuffled"]["metrics"]["f1"]["value"] <= 0.75
    assert all("unparsed" in row for row in found["methods"].values())
    rows = (tmp_path / "run/predictions.bridge.jsonl").read_text().splitlines()
    row = json.loads(rows[0])
    assert row["prediction"] in ("L", "K") and row["target"] in (["L"], ["K"])
    assert row["values"].keys() == {"exact_match", "f1"} and row["parsed"]


def test_the_answer_that_is_trained_ends_as_answers_end(names: Task) -> None:
    plain, chat = load_model("fake-gemma"), load_model("fake-llama")
    example = names.split("train")[0]
    for lm, end in ((plain, plain.token_ids("\n")[-1]), (chat, chat.end_ids[0])):
        builder = PromptBuilder(names, lm, names.prompts[0])
        (request,) = builder.build_handoff(example)
        assert request.answers == ()
        assert builder.right_answer(request.prompt, example)[-1] == end


@pytest.mark.parametrize("setting", ["blind", "shared"])
def test_other_settings_train_and_are_remembered(
    names: Task, fake_wire: Callable[..., Wire], tmp_path: Path, setting: Any
) -> None:
    wire = fake_wire(setting=setting, sender_prompt="aware")
    train_bridge(wire, names, tmp_path / "run", progress=Progress(), steps=2, batch_size=4)
    again = Wire.from_pretrained(tmp_path / "run")
    found = evaluate(
        again,
        names,
        methods=["bridge", "text_relay"],
        timed=0,
        prompt_val_limit=2,
        progress=Progress(),
    )
    assert found.asked["setting"] == setting and found.asked["sender_prompt"] == "aware"
    assert any(f"setting {setting}" in note and "aware text" in note for note in found.notes)
    with pytest.raises(UsageError, match="was trained in the setting"):
        evaluate(again, names, setting="split", progress=Progress())


def test_first_token_collisions_are_told_and_whole_choices_scored(
    make_task: Callable[..., Task], fake_wire: Callable[..., Wire]
) -> None:
    task = make_task()
    labels = ["red wine", "red rose"]
    spec = task.spec.model_copy(update={"labels": labels})
    colliding = Task(spec, task.base)
    pair = fake_wire().sender.lm, fake_wire().receiver.lm
    found = evaluate(pair, colliding, methods=["zeroshot_receiver"], timed=0, progress=Progress())
    assert any("in 24 of 24 examples some choices share" in n for n in found.notes)
    lm = pair[1]
    builder = PromptBuilder(colliding, lm, colliding.prompts[0])
    (request,) = builder.build(colliding.split("test")[0])
    first, second = (ids[0] for ids in request.answers)
    (scores,) = Receiver(lm).score_choices([request.prompt], [request.answers])
    assert first == second and not torch.isclose(scores[0], scores[1])


def test_equal_questions_are_asked_once(
    make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, lm = make_task(8), load_model(GEMMA)
    receiver, examples = Receiver(lm), list(task.split("test"))[:6]
    requests = [
        PromptBuilder(task, lm, "{context}").build_handoff(example) for example in examples
    ]  # all alike
    soft = torch.randn(6, 4, lm.width)
    alone = [respond(receiver, task, [r], row[None])[0] for r, row in zip(requests, soft)]
    asked: list[int] = []
    plain = Receiver.score_choices

    def score(self: Receiver, prompts: Any, *arguments: Any, **more: Any) -> Any:
        asked.append(len(prompts))
        return plain(self, prompts, *arguments, **more)

    monkeypatch.setattr(Receiver, "score_choices", score)
    told: list[int] = []
    found = respond(receiver, task, requests, soft[[0, 1, 0, 2, 1, 0]], on_batch=told.append)
    assert sum(asked) == 3 and sum(told) == 6
    for response, i in zip(found, [0, 1, 0, 2, 1, 0]):
        assert response.scores == pytest.approx(alone[i].scores, abs=1e-4)
    assert found[0] == found[2] == found[5] != found[1]
