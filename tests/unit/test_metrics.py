"""Metrics, compared with values computed by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest

from latentwire import Task, load_task
from latentwire.data import Example
from latentwire.data.metrics import (
    Response,
    choose,
    exact_match,
    f1,
    final_number,
    normalize,
    rouge_l,
)
from latentwire.eval.method import Prediction


def test_normalize_as_squad() -> None:
    assert normalize("  The Cat, an  owl; a dog's!") == "cat owl dogs"
    assert exact_match("the Norway.", "Norway") == 1.0
    assert exact_match("in Norway", "Norway") == 0.0


@pytest.mark.parametrize(
    ("text", "reference", "value"),
    [
        ("in Norway", "Norway", 2 / 3),
        ("Norway Norway", "Norway", 2 / 3),  # a word counts as often as it is wanted
        ("the Norway", "Norway", 1.0),
        ("Sweden", "Norway", 0.0),
        ("", "Norway", 0.0),
        ("the", "a", 1.0),  # nothing is left of either
    ],
)
def test_f1(text: str, reference: str, value: float) -> None:
    assert f1(text, reference) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("He has 3 + 4 = 7 apples.", "7"),
        ("so 9, then\n#### 1,234.50\nQuestion: 5?", "1234.5"),
        ("It costs $18.", "18"),
        ("18.00", "18"),
        ("it is -5", "-5"),
        ("in 2010-12", "12"),
        (".5", "0.5"),
        ("no number", None),
        ("####", None),
        ("", None),
    ],
)
def test_final_number(text: str, value: str | None) -> None:
    assert final_number(text) == (None if value is None else Decimal(value))


def test_rouge_l() -> None:
    # Longest common subsequence "the sat" of three and three words.
    assert rouge_l("the cat sat", "the dog sat") == pytest.approx(2 / 3)
    assert rouge_l("", "the dog sat") == 0.0


def _task(name: str, metric: str | None = None) -> Task:
    task = load_task(name)
    return Task(task.spec.model_copy(update={"metric": metric})) if metric else task


LONG = Example("x", "c", "", ("no", "a much longer answer"), 1, ("a much longer answer",))


@pytest.mark.parametrize(("metric", "chosen"), [("acc", 0), ("acc_norm", 1)])
def test_choose_returns_both_accuracies_and_the_primary_choice(metric: str, chosen: int) -> None:
    response = Response((-4.0, -10.0), (2, 20))
    choice, values = choose(_task("arc_easy", metric), LONG, response)
    assert choice == chosen
    assert values == {"acc": 0.0, "acc_norm": 1.0}


def test_choose_normalizes_by_bytes() -> None:
    example = Example("x", "c", "", ("äöü", "abcd"), 0, ("äöü",))
    sizes = tuple(len(choice.encode()) for choice in example.choices)
    assert sizes == (6, 4)
    # Per character the first would lose: -6 / 3 < -5 / 4; per byte it wins: -6 / 6 > -5 / 4.
    assert choose(_task("arc_easy"), example, Response((-6.0, -5.0), sizes))[1]["acc_norm"] == 1.0


def test_choose_without_sizes_has_equal_accuracies() -> None:
    assert choose(_task("arc_easy"), LONG, Response((0.2, 0.8)))[1] == {"acc": 1.0, "acc_norm": 1.0}


def test_choose_of_scores_that_are_not_finite() -> None:
    found = Prediction.of(_task("arc_easy"), LONG, Response((float("nan"), float("-inf")), (2, 20)))
    assert found.prediction is None and not found.parsed and found.correct is False
    partly = Prediction.of(_task("arc_easy"), LONG, Response((float("nan"), -3.0), (2, 20)))
    assert partly.prediction == 1 and partly.parsed


@pytest.mark.parametrize(
    ("name", "references", "text", "parsed", "values"),
    [
        ("gsm8k", ("1000",), "That makes 1,000.", True, {"final_number": 1.0}),
        ("gsm8k", ("1000",), "I do not know.", False, {"final_number": 0.0}),
        ("squad", ("Oslo", "in Oslo"), "in Oslo", True, {"f1": 1.0, "exact_match": 1.0}),
        ("squad", ("Oslo",), " ", False, {"f1": 0.0, "exact_match": 0.0}),
        ("xsum", ("One dog barks.",), "One dog barks.", True, {"rouge_l": 1.0}),
    ],
)
def test_read_text(
    name: str, references: tuple[str, ...], text: str, parsed: bool, values: dict[str, float]
) -> None:
    example = Example("x", "c", "q", (), None, references)
    found = Prediction.of(load_task(name), example, Response(text=text))
    assert found.parsed is parsed
    assert list(found.values) == list(values) and found.values == pytest.approx(values)
    assert found.value == next(iter(values.values()))
    assert found.prediction == text and found.target == references
    assert ("correct" in found.to_json()) == (name != "xsum")  # ROUGE knows no right or wrong
