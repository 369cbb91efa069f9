"""A user's own YAML beside a data file, and what `tasks check` says about its mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latentwire.core.errors import ConfigError, DataError
from latentwire.data import check_task, load_task

TRAIN = "text,animal\n" + "".join(f"meow {c},cat\nwoof {c},dog\n" for c in "abcdefghij")
TEST = "text,animal\npurr,cat\nbark,1\n"
CARVE = {"carve": {"val": 0.2}}


def test_a_yaml_beside_a_csv_works(own_task: Any) -> None:
    path = own_task({"train.csv": TRAIN, "test.csv": TEST}, **CARVE)
    assert check_task(path) == []
    task = load_task(str(path))
    assert [e.references for e in task.split("test")] == [("cat",), ("dog",)]
    assert (len(task.split("train")), len(task.split("val"))) == (16, 4)
    assert task.notes()[0] == "read from files train.csv, test.csv"


def test_one_file_is_carved_into_three(own_task: Any) -> None:
    path = own_task({"all.csv": TRAIN}, splits={"train": "all"}, carve={"val": 0.2, "test": 0.2})
    task = load_task(path)
    assert [len(task.split(name)) for name in ("train", "val", "test")] == [12, 4, 4]


def test_schema_mistakes_come_all_at_once(own_task: Any) -> None:
    path = own_task(
        {"train.csv": TRAIN, "test.csv": TEST},
        metrik="acc",
        kind="chioce",
        prompts=["{context}"],
        max_context_tokens=0,
        example={"context": "{text}", "contxt": "x", "remove": "(", "prepare": "hellaswg"},
        **CARVE,
    )
    mistakes = check_task(path)
    found = {mistake.split(":")[0]: mistake for mistake in mistakes}
    assert set(found) == {
        "metrik", "kind", "prompts", "max_context_tokens",
        "example.contxt", "example.remove", "example.prepare",
    }  # fmt: skip
    assert "Unknown key 'metrik'. Did you mean 'metric'? Known: aliases, " in found["metrik"]
    assert "Did you mean 'context'?" in found["example.contxt"]
    assert "not a regular expression" in found["example.remove"]
    assert "Did you mean 'hellaswag'?" in found["example.prepare"]
    with pytest.raises(ConfigError, match=r"pets\.yaml has 7 mistake\(s\):\n  metric|\n  kind"):
        load_task(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": ["a", "{context}\n", "{context} {context} {labls}"]},
         ["prompts.0: {context} must appear exactly once, found 0 times",
          "prompts.1: ends with white space; end right before the answer",
          "prompts.2: {context} must appear exactly once, found 2 times",
          "prompts.2: unknown place {labls}; allowed: {choices}, {context}, {labels}, {question}"]),
        ({"metric": "f1"}, ["metric: 'f1' is not for kind 'choice': acc, acc_norm"]),
        ({"labels": ["cat"]}, ["labels: give at least two, all different"]),
        ({"labels": ["1", "0"]},
         ["example.target_values: needed, as labels that are numbers are ambiguous"]),
        ({"labels": []}, ["labels, example.choices: give exactly one of the two"]),
        ({"example": {"context": "{text}"}}, ["example.target: needed for kind 'choice'"]),
        ({"example": {"context": "{text}", "target": "animal", "target_values": [1]}},
         ["example.target_values: 1 values for 2 labels"]),
        ({"kind": "generation", "metric": "f1"},
         ["example.references: needed for kind 'generation'",
          "max_new_tokens: needed (> 0) for kind 'generation'",
          "labels, example.choices, example.target: not for kind 'generation'"]),
        ({"carve": {}}, ["splits.val: missing; name the source's split or set carve.val"]),
        ({"carve": {"val": 0.1, "test": 0.1}},
         ["carve.test: splits.test is given, so nothing may be carved"]),
        ({"carve": {"val": 0.1}, "splits": {"train": "trian", "test": "test"}},
         ["splits: 'trian' is not in source.files (train, test)"]),
        ({"carve": {"val": 0.1}, "splits": {"test": "test"}},
         ["splits.train: needed, as carve takes from it"]),
    ],
)  # fmt: skip
def test_rules_between_keys(own_task: Any, changes: dict[str, Any], message: list[str]) -> None:
    path = own_task({"train.csv": TRAIN, "test.csv": TEST}, **(CARVE | changes))
    assert check_task(path) == message


def test_data_mistakes_come_all_at_once(own_task: Any) -> None:
    test = "id,text,animal\n7,purr,cat\n7,bark,dog\n8,,dog\n9,neigh,horse\n10,Meow  A,cat\n"
    train = "id,text,animal\n1,meow a,cat\n2,woof,2\n7,woof b,dog\n"
    path = own_task(
        {"train.csv": train, "test.csv": test},
        example={"id": "{id}", "context": "{text}", "target": "animal"},
        **CARVE,
    )
    assert check_task(path) == [
        "train-1: label '2' in field 'animal' is none of 0, 1 "
        "and no label's text (cat, dog); is this split unlabelled?",
        "test-0: id '7' is also the id of train-2",
        "test-1: id '7' is also the id of train-2",
        "test-2: empty context",
        "test-3: label 'horse' in field 'animal' is none of 0, 1 "
        "and no label's text (cat, dog); is this split unlabelled?",
        "test-4: the same text is in split train (train-0)",
    ]


def test_missing_fields_are_counted_not_repeated_for_ever(own_task: Any) -> None:
    path = own_task({"train.csv": TRAIN.replace("text,", "txt,") * 3, "test.csv": TEST}, **CARVE)
    mistakes = check_task(path)
    assert len(mistakes) == 21
    assert mistakes[0] == "train-0: no field 'text'; the row has animal, txt"
    assert mistakes[-1] == "train: 42 more mistakes like these"


def test_files_that_are_missing_or_broken(own_task: Any, tmp_path: Path) -> None:
    path = own_task({"train.csv": TRAIN, "test.csv": TEST}, **CARVE)
    (tmp_path / "test.csv").unlink()
    with pytest.raises(DataError, match=r"Task 'pets': no such data file: .*test\.csv"):
        load_task(path).split("train")
    assert len(check_task(path)) == 1
    assert check_task(tmp_path / "no.yaml")[0].startswith("Cannot read the task file")
    path.write_text("a: [", encoding="utf-8")
    assert "is not YAML" in check_task(path)[0]
    path.write_text("- a", encoding="utf-8")
    assert check_task(path) == ["the file is not a mapping of keys to values"]


def test_a_wrong_type_in_the_source_is_named(own_task: Any) -> None:
    path = own_task({"train.csv": TRAIN}, source={"files": {"train": 3}, "folder": "x"}, **CARVE)
    found = check_task(path)
    assert any(mistake.startswith("source.files.train: ") for mistake in found)
    assert any("source.folder: Unknown key 'folder'. Did you mean 'folders'?" in m for m in found)


def test_yaml_traps_are_explained(own_task: Any) -> None:
    files = {"train.csv": TRAIN, "validation.csv": TEST}
    assert check_task(own_task(files, labels=[False, True], carve={"val": 0.2})) == [
        "labels.0: Input should be a valid string, not False (put it in quotes)",
        "labels.1: Input should be a valid string, not True (put it in quotes)",
        "splits.validation: Input should be 'train', 'val' or 'test', not 'validation'",
    ]
