"""Labels that a model favours whatever it reads: found on val, taken out where that is better."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from latentwire import Task
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.data.metrics import Response
from latentwire.eval.context import Context
from latentwire.eval.method import Prediction
from latentwire.methods.handoff import TextHandoff
from latentwire.methods.label_calibration import calibrate, estimate_log_prior, score_on_val
from latentwire.methods.prompt_choice import PromptChoice, ValScore
from latentwire.methods.ridge import Ridge
from latentwire.methods.text_relay import TextRelay
from latentwire.methods.zeroshot import ZeroShot

SILENT = Progress()
BIAS = 6.0


def answers(task: Task, examples: Sequence[Example], scores: Sequence[Any]) -> list[Prediction]:
    return [
        Prediction.of(task, example, Response(tuple(each)), n_bytes=3, text="abc")
        for example, each in zip(examples, scores)
    ]


def leaning(task: Task, examples: Sequence[Example]) -> list[Prediction]:
    """Every answer is the first label, yet the right one is a little likelier than elsewhere."""
    scores = [(BIAS + (e.target == 0), float(e.target == 1)) for e in examples]
    return answers(task, examples, scores)


def test_the_prior_is_the_mean_probability(context: Callable[..., Context]) -> None:
    task = context().task
    examples = task.split("val")[:2]
    # Any constant may be added to the scores of an example.
    found = answers(
        task, examples, [(math.log(0.9) - 7, math.log(0.1) - 7), (math.log(0.5), math.log(0.5))]
    )
    assert estimate_log_prior(found) == pytest.approx((math.log(0.7), math.log(0.3)))
    one = calibrate(task, examples, found, estimate_log_prior(found))
    assert one[0].scores == pytest.approx((math.log(0.9 / 0.7), math.log(0.1 / 0.3)))
    assert [p.prediction for p in one] == [0, 1]
    assert (one[0].n_bytes, one[0].text, one[0].id) == (3, "abc", examples[0].id)
    assert calibrate(task, examples, found, ()) == found


def test_a_label_that_gains_by_its_length_does_not_when_calibrated(
    context: Callable[..., Context],
) -> None:
    task = context().task
    example = next(e for e in task.split("val") if e.target == 0)
    long = Prediction.of(task, example, Response((-1.0, -2.0), (1, 20)))
    assert long.values == {"acc": 1.0, "acc_norm": 0.0}
    (one,) = calibrate(task, [example], [long], (math.log(0.5), math.log(0.5)))
    assert one.values == {"acc": 1.0, "acc_norm": 1.0}


def test_what_is_no_number_stays_unread(context: Callable[..., Context]) -> None:
    task = context().task
    examples = task.split("val")[:3]
    found = answers(task, examples, [(0.0, -math.inf), (math.nan, -1.0), (0.0, -math.inf)])
    prior = estimate_log_prior(found)
    assert all(math.isfinite(each) for each in prior)
    never = estimate_log_prior(found[::2])
    assert never[1] < -700 and math.isfinite(never[1])
    assert [p.prediction for p in calibrate(task, examples, found, prior)] == [0, 1, 0]
    unread = answers(task, examples[:1], [(math.nan, math.nan)])
    assert calibrate(task, examples[:1], unread, (-0.1, -2.3)) == unread
    assert unread[0].prediction is None and not unread[0].parsed


def test_calibration_is_taken_only_where_it_is_better(context: Callable[..., Context]) -> None:
    task = context().task
    val = task.split("val")
    share = sum(e.target == 0 for e in val) / len(val)
    found = score_on_val(task, val, leaning(task, val), "{context}")
    assert (found.score, found.plain) == (1.0, share) and found.log_prior[0] > found.log_prior[1]
    right = answers(task, val, [(float(e.target == 0), float(e.target == 1)) for e in val])
    assert score_on_val(task, val, right, "{context}") == ValScore(1.0, 1.0)
    assert score_on_val(task, val[:1], leaning(task, val[:1]), "{context}").log_prior == ()
    assert PromptChoice.best({"a": ValScore(0.5, 0.5), "b": found, "c": found}).prompt == "b"
    assert PromptChoice.best({"b": found, "c": ValScore(1.0, 1.0)}).prompt == "c"  # needs no prior


def test_an_answer_has_no_part_in_the_prior_it_is_scored_with(
    context: Callable[..., Context],
) -> None:
    task = context().task
    val = [replace(e, target=i // 2) for i, e in enumerate(task.split("val")[:4])]
    # Every second answer leans further: together they make a prior that neither half has.
    found = answers(task, val, [(4.0, 0.0), (8.0, 0.0), (2.0, 0.0), (6.0, 0.0)])
    together = calibrate(task, val, found, estimate_log_prior(found))
    assert [p.prediction for p in together] == [0, 0, 1, 0]
    assert score_on_val(task, val, found, "{context}") == ValScore(0.5, 0.5)


def test_what_has_no_fixed_labels_is_left_alone(context: Callable[..., Context]) -> None:
    task = context().task
    val = task.split("val")
    found = leaning(task, val)
    plain = score_on_val(task, val, found, "{context} {filled}")
    assert plain.log_prior == () and plain.score == plain.plain < 1
    per_byte = Task(task.spec.model_copy(update={"metric": "acc_norm"}), task.base)
    assert score_on_val(per_byte, val, leaning(per_byte, val), "{context}").log_prior == ()
    labels, task.labels = task.labels, ()
    assert score_on_val(task, val, found, "{context}").log_prior == () and labels


@pytest.mark.parametrize(
    "name",
    [
        *("zeroshot_sender", "zeroshot_receiver", "fewshot_sender", "fewshot_receiver"),
        *("text_relay", "cot_relay", "compressed_text", "oracle_label", "sender_label", "ridge"),
    ],
)
def test_a_leaning_model_is_calibrated_by_every_method_that_asks_it(
    context: Callable[..., Context], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Context.answer

    def answer(
        self: Context, reader: Any, examples: list[Example], *rest: Any, **named: Any
    ) -> Any:
        found = plain(self, reader, examples, *rest, **named)
        return [
            replace(p, scores=said.scores, values=said.values, prediction=said.prediction)
            for p, said in zip(found, leaning(self.task, examples))
        ]

    monkeypatch.setattr(Context, "answer", answer)
    given = context(prompt_val_limit=12)
    method = given.methods.prepared(name, SILENT)
    assert isinstance(method, ZeroShot | TextHandoff | TextRelay | Ridge)
    test = list(given.task.split("test"))
    assert [p.prediction for p in method.predict(test, SILENT)] == [e.target for e in test]
    settings = method.settings()
    assert len(settings["log_prior"]) == 2
    for tried in settings["val_score"]:
        assert tried["score"] == 1 > tried["plain_score"]
    # Another split's answers change nothing: the prior is that of val.
    again = method.predict([e for e in test if e.target == 0], SILENT)
    assert {p.prediction for p in again} == {0}


@pytest.mark.parametrize("name", ["zeroshot_sender", "fewshot_receiver", "text_relay"])
def test_choices_are_taken_from_a_record(context: Callable[..., Context], name: str) -> None:
    made = context().methods.prepared(name, SILENT)
    told = json.loads(json.dumps(made.settings()))
    given = context()
    again = given.methods.get(name)
    assert again.restore(told) and again.settings() == made.settings()
    test = given.task.split("test")[:6]
    assert again.predict(test, SILENT) == made.predict(test, SILENT)
