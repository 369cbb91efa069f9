"""Zero- and few-shot: what is demonstrated, how much of it fits, in which form a model is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import latentwire.methods.demonstrations as demonstrations
from latentwire import Wire
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.context import Context
from latentwire.eval.method import Prediction
from latentwire.methods.demonstrations import FewShotPromptBuilder, draw_rounds
from latentwire.methods.fewshot import FewShot, FewShotReceiver, FewShotSender
from latentwire.methods.lora import best_template
from latentwire.methods.prompt_choice import PLAIN, TURN, PromptChoice, ReaderPrompt, ValScore
from latentwire.methods.zeroshot import ZeroShot
from latentwire.models import Receiver

SILENT = Progress()


# -- few-shot ---------------------------------------------------------------------------------


def prepared(method: type[FewShotSender] | type[FewShotReceiver], context: Context) -> FewShot:
    made = context.methods.prepared(method.name, SILENT)
    assert isinstance(made, method)
    return made


@pytest.mark.parametrize("seed", [0, 1])
def test_demonstrations_are_balanced_seeded_and_from_train(
    context: Callable[..., Context], seed: int
) -> None:
    given = context(seed=seed)
    train = given.train_examples()
    rounds = draw_rounds(given, train, 3)
    assert len(rounds) == 3
    for shown in rounds:
        assert sorted(e.target or 0 for e in shown) == [0, 1]
    shown = [e for each in rounds for e in each]
    assert len({e.id for e in shown}) == 6 and set(shown) <= set(train)
    held_out = {e.context for s in ("val", "test") for e in given.task.split(s)}
    assert not held_out & {e.context for e in shown}
    assert draw_rounds(given, train, 3) == rounds
    assert draw_rounds(context(seed=seed + 1), train, 3) != rounds


def test_a_rare_label_limits_the_shots(context: Callable[..., Context]) -> None:
    given = context()
    train = given.train_examples()
    few = [e for e in train if e.target == 0][:2] + [e for e in train if e.target == 1]
    assert [len(each) for each in draw_rounds(given, few, 3)] == [2, 2]


@pytest.mark.parametrize("method", [FewShotSender, FewShotReceiver])
def test_as_many_shots_as_fit(
    context: Callable[..., Context],
    method: type[FewShotSender] | type[FewShotReceiver],
) -> None:
    given = context(options={"shots": 8})
    made = prepared(method, given)
    n_forms = 1 if method is FewShotReceiver else 2  # fake-llama is a chat model
    most = {(w.form, w.template): w.shots for w in made.choice.on_val}
    assert len(most) == 3 * n_forms
    # Both read 512 tokens. fake-gemma looks back on 64 only, but its demonstrations are read once.
    assert set(most.values()) == ({4, 6} if method is FewShotReceiver else {3, 6})
    questions = [*given.task.split("val"), *given.task.split("test")]

    def longest(builder: FewShotPromptBuilder) -> int:
        requests = [builder.build(e)[0] for e in questions]
        return max(len(r.prompt.before) + max(map(len, r.answers)) for r in requests)

    for wording in made.choice.on_val:
        n = wording.shots
        counts = Counter(e.target for e in made.shown[wording])
        assert counts == {0: n, 1: n}
        assert set(made.shown[wording]) <= set(given.train_examples())
        lm, template = made.readers[wording.form].lm, wording.template
        builder = FewShotPromptBuilder(given, lm, template, made.shown[wording])
        assert longest(builder) <= 512 == lm.max_tokens
        if n < most[wording.form, wording.template]:
            continue
        more = [e for each in draw_rounds(given, given.train_examples(), 8)[: n + 1] for e in each]
        builder = FewShotPromptBuilder(given, lm, template, more)
        assert longest(builder) > lm.max_tokens
    tried = {w.shots for w in made.choice.on_val if most[w.form, w.template] == 6}
    assert tried == {1, 2, 4, 6}
    chosen = made.settings()
    assert chosen["shots"] == made.prompt.shots
    assert len(chosen["shown"]) == 2 * chosen["shots"]
    assert made.choice == PromptChoice.best(made.choice.on_val)


def test_what_would_be_read_again_for_every_question_stays_in_the_window(
    context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demonstrations, "in_one_pass", lambda choices: False)
    made = prepared(FewShotReceiver, context(options={"shots": 8}))
    assert {w.shots for w in made.choice.on_val} == {1}


def test_demonstrations_are_read_once(context: Callable[..., Context]) -> None:
    made = prepared(FewShotSender, context())
    made.readers[made.prompt.form] = Receiver(made.reader.lm)
    given = made.context
    found = made.predict(given.task.split("test")[:6], SILENT)
    (start,) = made.reader._starts
    said = made.reader.lm.tokenizer.decode(list(start))
    for example in made.shown[made.prompt]:
        assert example.context in said
    made.readers[made.prompt.form] = Receiver(made.reader.lm)
    made.reader._shared = lambda *_: None  # type: ignore[method-assign]
    again = made.predict(given.task.split("test")[:6], SILENT)
    for a, b in zip(found, again):
        assert a.scores == pytest.approx(b.scores, abs=1e-4)


def test_what_a_few_shot_prompt_says(context: Callable[..., Context], pair: Wire) -> None:
    given = context()
    red = Example("a", "fire", "", ("red", "blue"), 0, ("red",))
    blue = Example("b", "sea", "", ("red", "blue"), 1, ("blue",))
    template = given.task.prompts[0]
    wanted = (
        "Colours: red, blue.\nText: fire\nColour: red\n\n"
        "Colours: red, blue.\nText: {labels}\nColour: blue\n\n"
        "Colours: red, blue.\nText: sea {context}\nColour:"
    )
    braces = Example("c", "{labels}", "", ("red", "blue"), 1, ("blue",))
    question = Example("d", "sea {context}", "", ("red", "blue"), 1, ("blue",))
    for lm in (pair.sender.lm, pair.receiver.lm):
        (request,) = FewShotPromptBuilder(given, lm, template, [red, braces]).build(question)
        ids = lm.token_ids(lm.render_turn(wanted), special=not lm.is_chat)
        assert list(request.prompt.before) == ids and not request.prompt.after
        head = lm.tokenizer.decode(ids[: request.prompt.n_static])
        assert head.rstrip().endswith("blue\n\nColours: red, blue.\nText:")
        (plain,) = FewShotPromptBuilder(given, lm, template, []).build(blue)
        assert plain == given.prompt_builder(lm, template).build(blue)[0]


# -- a turn or plain text ---------------------------------------------------------------------


@pytest.mark.parametrize("best", [TURN, PLAIN])
@pytest.mark.parametrize("name", ["zeroshot_sender", "fewshot_sender"])
def test_a_chat_model_is_asked_in_the_form_that_is_better_on_val(
    context: Callable[..., Context], name: str, best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, plain = context(), Context.answer
    asked: list[bool] = []

    def answer(
        self: Context, reader: Receiver, examples: list[Example], *more: Any, **named: Any
    ) -> list[Prediction]:
        asked.append(reader.lm.is_chat)
        found = plain(self, reader, examples, *more, **named)
        good = reader.lm.is_chat == (best == TURN)
        said = [e.target if good else 1 - (e.target or 0) for e in examples]
        return [
            replace(p, values={"acc": float(good)}, scores=(-9.0 * bool(s), -9.0 * (not s)))
            for p, s in zip(found, said)
        ]

    monkeypatch.setattr(Context, "answer", answer)
    method = given.methods.prepared(name, SILENT)
    found = method.settings()
    assert set(asked) == {True, False} and found["form"] == best
    scores = {form: set() for form in (TURN, PLAIN)}
    for each in found["val_score"]:
        assert each["score"] == (each["form"] == best)
        scores[each["form"]].add(each["prompt"])
    assert scores[TURN] == scores[PLAIN] and found["prompt"] in scores[best]
    asked.clear()
    test = given.task.split("test")[:4]
    method.predict(test, SILENT)
    assert asked == [best == TURN]
    monkeypatch.undo()
    said = method.predict(test, SILENT)
    lm = given.sender.lm if best == TURN else given.sender.lm.without_chat()
    assert isinstance(method, ZeroShot)
    builder = method.prompt_builder(method.prompt)
    assert builder.lm.is_chat is lm.is_chat
    requests = [builder.build(example) for example in test]
    alone = given.answer(Receiver(lm), test, requests, SILENT, "")
    for a, b in zip(said, alone):
        assert a.scores == pytest.approx(b.scores, abs=1e-4)


def test_a_model_without_a_chat_template_has_one_form(context: Callable[..., Context]) -> None:
    given = context()
    found = given.methods.prepared("zeroshot_receiver", SILENT).settings()
    assert found["form"] == PLAIN and {each["form"] for each in found["val_score"]} == {PLAIN}


def test_what_is_fine_tuned_is_asked_in_its_own_form(context: Callable[..., Context]) -> None:
    given = context()
    given = replace(given, receiver=given.sender_as_reader)  # a chat model
    zeroshot = given.methods.prepared("zeroshot_receiver", SILENT)
    assert isinstance(zeroshot, ZeroShot)
    first, second, *_ = given.task.reader_prompts
    on_val = {
        ReaderPrompt(TURN, first): ValScore(0.8, 0.5, (-0.1, -2.0)),
        ReaderPrompt(TURN, second): ValScore(0.6, 0.6),
        ReaderPrompt(PLAIN, first): ValScore(0.9, 0.9),
    }
    zeroshot.choice = PromptChoice.best(on_val)
    assert best_template(given, SILENT) == second
