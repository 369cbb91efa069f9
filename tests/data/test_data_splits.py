"""Splits are seeded, stable and without leaks, and notes report dropped rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latentwire.core.errors import DataError, UnknownNameError, UsageError
from latentwire.core.files import fingerprint
from latentwire.data import Example, load_task
from latentwire.data.spec import SPLITS

NAMES = ("ann", "bo", "cy", "dee", "ed", "flo", "gus", "hal", "ian", "jo")
MESSAGES = [
    {"sms": f"{word} text {name} {other}", "label": label}
    for label, word in enumerate(("hi", "win"))
    for name in NAMES
    for other in ("max", "zoe")
]


def texts(examples: Any) -> list[str]:
    return [example.context for example in examples]


def test_carved_split_is_the_same_on_every_machine(put: Any) -> None:
    put("sms_spam", train=MESSAGES)
    task = load_task("sms_spam")
    carved = {name: texts(task.split(name)) for name in SPLITS}
    assert {name: len(part) for name, part in carved.items()} == {"train": 28, "val": 4, "test": 8}
    assert fingerprint(carved) == "7eed3c80f9f88180"


def test_carved_split_does_not_depend_on_the_order_of_rows(put: Any) -> None:
    put("sms_spam", train=MESSAGES)
    before = texts(load_task("sms_spam").split("test"))
    put("sms_spam", train=MESSAGES[::-1])
    assert texts(load_task("sms_spam").split("test")) == before


def test_carved_split_keeps_label_shares_and_mixes_labels(put: Any) -> None:
    put("sms_spam", train=MESSAGES)
    targets = [example.target for example in load_task("sms_spam").split("test")]
    assert sorted(targets) == [0] * 4 + [1] * 4  # type: ignore[type-var]
    assert targets not in ([0] * 4 + [1] * 4, [1] * 4 + [0] * 4)


def test_carved_splits_have_no_text_in_common(put: Any) -> None:
    again = [{"sms": row["sms"].upper() + " 0800 1234!", "label": row["label"]} for row in MESSAGES]
    put("sms_spam", train=MESSAGES + again)
    task = load_task("sms_spam")
    seen = [text.lower() for name in SPLITS for text in texts(task.split(name))]
    assert len(seen) == len(set(seen)) == len(MESSAGES)
    assert "40 duplicate train rows dropped" in task.notes()


def test_splitter_drops_texts_with_two_labels(put: Any) -> None:
    put("sms_spam", train=[*MESSAGES, {"sms": "HI text ann max", "label": 1}])
    task = load_task("sms_spam")
    seen = [text for name in SPLITS for text in texts(task.split(name))]
    assert "hi text ann max" not in seen and len(seen) == len(MESSAGES) - 1
    assert "1 train rows dropped: their text has different labels" in task.notes()


def test_splitter_keeps_test_rows_and_drops_them_from_train(put: Any) -> None:
    train = [{"sentence": f"film number {i} ", "label": i % 2} for i in range(40)]
    test = [{"sentence": "Film  number 7. ", "label": 1}, {"sentence": "film number 7", "label": 1}]
    put("sst2", train=train, validation=test)
    task = load_task("sst2")
    assert len(task.split("test")) == 2
    rest = texts(task.split("train")) + texts(task.split("val"))
    assert "film number 7" not in rest and len(rest) == 39
    assert "1 train rows dropped: also in test" in task.notes()


def test_splitter_prefers_test_to_val_and_val_to_train(put: Any) -> None:
    def row(text: str) -> dict[str, Any]:
        return {"text": text, "label": 1}

    put(
        "rotten_tomatoes",
        train=[row("a"), row("b"), row("c"), row("")],
        validation=[row("b"), row("d")],
        test=[row("c"), row("d"), row("")],
    )
    task = load_task("rotten_tomatoes")
    assert texts(task.split("train")) == ["a"]
    assert texts(task.split("val")) == ["b"]
    assert texts(task.split("test")) == ["c", "d", ""]
    notes = task.notes()
    assert "1 train rows dropped: empty context" in notes
    assert "1 test rows have an empty context" in notes
    assert "1 val rows dropped: also in test" in notes


def test_carved_split_keeps_groups_together(put: Any) -> None:
    train = [
        {"passage": f"passage {i // 4}", "question": f"question {i}", "answer": i % 2 == 0}
        for i in range(80)
    ]
    put("boolq", train=train, validation=train[:1])
    task = load_task("boolq")
    in_train, in_val = set(texts(task.split("train"))), set(texts(task.split("val")))
    assert in_val and not in_train & in_val


def test_split_test_does_not_read_train(put: Any) -> None:
    put("sst2", train=[{"text": "bad", "label": 0}], validation=[{"sentence": "good", "label": 1}])
    task = load_task("sst2")
    assert len(task.split("test")) == 1
    with pytest.raises(DataError, match=r"^Task 'sst2', train-0: no field 'sentence'"):
        task.split("train")


def test_notes_report_subsets_and_wrong_sizes(put: Any) -> None:
    put("sst2", train=[{"sentence": f"s {i}", "label": 0} for i in range(5)],
        validation=[{"sentence": f"t {i}", "label": 1} for i in range(873)])  # fmt: skip
    task = load_task("sst2")
    task.split("train")
    notes = task.notes()
    assert "subset: 5 of 67,349 train rows" in notes
    assert "not the official data: 873 validation rows, official 872" in notes
    assert "val carved from train: 5%, seed 13" in notes


def test_notes_do_not_call_a_full_split_a_subset(put: Any) -> None:
    put("sst2", validation=[{"sentence": f"t {i}", "label": 1} for i in range(872)])
    task = load_task("sst2")
    task.split("test")
    assert len(task.notes()) == 1


def test_split_error_lists_available_splits_and_how_to_get_the_rest(put: Any) -> None:
    put("sst2", validation=[{"sentence": "good", "label": 1}])
    with pytest.raises(
        DataError, match=r"no train rows in folder .*which has validation\. Connect"
    ):
        load_task("sst2").split("val")


def test_scan_refuses_repeated_ids(put: Any) -> None:
    row = {"id": "1", "document": "long", "summary": "short"}
    put("xsum", test=[row, row | {"document": "other"}])
    with pytest.raises(DataError, match="1 ids in test are not unique"):
        load_task("xsum").split("test")


def test_scan_refuses_a_split_without_rows(put: Any) -> None:
    put("xsum", test=[])
    with pytest.raises(DataError, match="test has no rows"):
        load_task("xsum").split("test")


def test_sample_is_seeded_and_nested(put: Any) -> None:
    put("ag_news", test=[{"text": f"news {i}", "label": 0} for i in range(100)])
    task = load_task("ag_news")
    ten = task.sample("test", 10, seed=1)
    assert ten == task.sample("test", 10, seed=1)
    assert ten == task.sample("test", 50, seed=1)[:10]
    assert ten != task.sample("test", 10, seed=2)
    assert texts(ten) != texts(task.split("test")[:10])
    assert len(task.sample("test", 1000, seed=1)) == 100
    assert [e.id for e in ten[:3]] == ["test-80", "test-84", "test-33"]
    with pytest.raises(UsageError, match="limit must be 1 or more, not 0"):
        task.sample("test", 0, seed=1)


def test_splits_are_sequences(put: Any) -> None:
    put("ag_news", test=[{"text": f"news {i}", "label": i % 4} for i in range(600)])
    examples = load_task("ag_news").split("test")
    assert isinstance(examples[0], Example)
    assert examples[-1].id == "test-599"
    assert [e.id for e in examples[598:]] == ["test-598", "test-599"]
    assert len(list(examples)) == 600
    with pytest.raises(IndexError):
        examples[600]


def test_split_refuses_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'val'"):
        load_task("sst2").split("vall")  # type: ignore[arg-type]


def test_fingerprint_depends_on_data_and_task(put: Any, own_task: Any) -> None:
    rows = [{"sentence": f"t {i}", "label": 1} for i in range(5)]
    put("sst2", validation=rows)
    first = load_task("sst2").fingerprint
    assert load_task("sst2").fingerprint == first
    put("sst2", validation=rows[:4])
    assert load_task("sst2").fingerprint != first
    data = {"test.csv": "text,animal\nmeow,cat\n", "train.csv": "text,animal\nwoof,dog\n"}
    carve = {"carve": {"val": 0.1}}
    pets: Path = own_task(data, **carve)
    before = load_task(pets).fingerprint
    assert load_task(own_task(data, version=2, **carve)).fingerprint != before
