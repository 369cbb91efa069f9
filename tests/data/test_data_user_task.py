"""Task files of users, and the mistakes that `latentwire tasks check` reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latentwire.core.errors import ConfigError, DataError
from latentwire.data import check_task, load_task

TRAIN = "text,animal\n" + "".join(f"meow {c},cat\nwoof {c},dog\n" for c in "abcdefghij")
TEST = "text,animal\npurr,cat\nbark,1\n"
CARVE = {"carve": {"val": 0.2}}


def test_load_task_reads_a_yaml_next_to_a_csv(own_task: Any) -> None:
    path = own_task({"train.csv": TRAIN, "test.csv": TEST}, **CARVE)
    assert check_task(path) == []
    task = load_task(str(path))
    assert [e.references for e in task.split("test")] == [("cat",), ("dog",)]
    assert (len(task.split("train")), len(task.split("val"))) == (16, 4)
    assert task.notes()[0] == "read from files train.csv, test.csv"


def test_load_task_carves_one_file_into_three_splits(own_task: Any) -> None:
    path = own_task({"all.csv": TRAIN}, splits={"train": "all"}, carve={"val": 0.2, "test": 0.2})
    task = load_task(path)
    assert [len(task.split(name)) for name in ("train", "val", "test")] == [12, 4, 4]


def test_check_task_reports_all_schema_mistakes(own_task: Any) -> None:
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
    assert "not a valid regular expression" in found["example.remove"]
    assert "Did you mean 'hellaswag'?" in found["example.prepare"]
    with pytest.raises(ConfigError, match=r"pets\.yaml has 7 mistake\(s\):\n  metric|\n  kind"):
        load_task(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": ["a", "{context}\n", "{context} {context} {labls}"]},
         ["prompts.0: {context} must appear exactly once, found 0 times",
          "prompts.1: remove the white space at the end; the answer follows it directly",
          "prompts.2: {context} must appear exactly once, found 2 times",
          "prompts.2: unknown placeholder {labls}; "
          "allowed: {choices}, {context}, {labels}, {question}"]),
        ({"metric": "f1"},
         ["metric: 'f1' is not allowed for kind 'choice'; allowed: acc, acc_norm"]),
        ({"labels": ["cat"]}, ["labels: at least two are required, all different"]),
        ({"labels": ["1", "0"]},
         ["example.target_values: required, because labels that are numbers are ambiguous"]),
        ({"labels": []}, ["labels, example.choices: exactly one of the two is required"]),
        ({"example": {"context": "{text}"}}, ["example.target: required for kind 'choice'"]),
        ({"example": {"context": "{text}", "target": "animal", "target_values": [1]}},
         ["example.target_values: 1 values for 2 labels"]),
        ({"kind": "generation", "metric": "f1"},
         ["example.references: required for kind 'generation'",
          "max_new_tokens: required (> 0) for kind 'generation'",
          "labels, example.choices, example.target: not allowed for kind 'generation'"]),
        ({"carve": {}}, ["splits.val: missing; name a split of the source or set carve.val"]),
        ({"carve": {"val": 0.1, "test": 0.1}},
         ["carve.test: not allowed together with splits.test"]),
        ({"carve": {"val": 0.1}, "splits": {"train": "trian", "test": "test"}},
         ["splits: 'trian' is not in source.files (train, test)"]),
        ({"carve": {"val": 0.1}, "splits": {"test": "test"}},
         ["splits.train: required, because carve takes rows from it"]),
    ],
)  # fmt: skip
def test_check_task_reports_violated_rules(
    own_task: Any, changes: dict[str, Any], message: list[str]
) -> None:
    path = own_task({"train.csv": TRAIN, "test.csv": TEST}, **(CARVE | changes))
    assert check_task(path) == message


def test_check_task_reports_all_data_mistakes(own_task: Any) -> None:
    test = "id,text,animal\n7,purr,cat\n7,bark,dog\n8,,dog\n9,neigh,horse\n10,Meow  A,cat\n"
    train = "id,text,animal\n1,meow a,cat\n2,woof,2\n7,woof b,dog\n"
    path = own_task(
        {"train.csv": train, "test.csv": test},
        example={"id": "{id}", "context": "{text}", "target": "animal"},
        **CARVE,
    )
    assert check_task(path) == [
        "train-1: label '2' in field 'animal' is not one of 0, 1 or cat, dog. "
        "Check that this split has labels.",
        "test-0: id '7' is already used by train-2",
        "test-1: id '7' is already used by train-2",
        "test-2: empty context",
        "test-3: label 'horse' in field 'animal' is not one of 0, 1 or cat, dog. "
        "Check that this split has labels.",
        "test-4: the same text is also in split train (train-0)",
    ]


def test_check_task_limits_the_list_of_mistakes(own_task: Any) -> None:
    path = own_task({"train.csv": TRAIN.replace("text,", "txt,") * 3, "test.csv": TEST}, **CARVE)
    mistakes = check_task(path)
    assert len(mistakes) == 21
    assert mistakes[0] == "train-0: no field 'text'; existing fields: animal, txt"
    assert mistakes[-1] == "train: 42 more mistakes"


def test_check_task_explains_missing_and_invalid_files(own_task: Any, tmp_path: Path) -> None:
    path = own_task({"train.csv": TRAIN, "test.csv": TEST}, **CARVE)
    (tmp_path / "test.csv").unlink()
    with pytest.raises(DataError, match=r"Data files of task 'pets' not found: .*test\.csv"):
        load_task(path).split("train")
    assert len(check_task(path)) == 1
    assert check_task(tmp_path / "no.yaml")[0].startswith("Cannot read the task file")
    path.write_text("a: [", encoding="utf-8")
    assert "is not valid YAML" in check_task(path)[0]
    path.write_text("- a", encoding="utf-8")
    assert check_task(path) == ["the file must be a mapping of keys to values"]


def test_check_task_names_wrong_types_in_source(own_task: Any) -> None:
    path = own_task({"train.csv": TRAIN}, source={"files": {"train": 3}, "folder": "x"}, **CARVE)
    found = check_task(path)
    assert any(mistake.startswith("source.files.train: ") for mistake in found)
    assert any("source.folder: Unknown key 'folder'. Did you mean 'folders'?" in m for m in found)


def test_check_task_explains_unquoted_yaml_values(own_task: Any) -> None:
    files = {"train.csv": TRAIN, "validation.csv": TEST}
    assert check_task(own_task(files, labels=[False, True], carve={"val": 0.2})) == [
        "labels.0: Input should be a valid string, not False (put it in quotes)",
        "labels.1: Input should be a valid string, not True (put it in quotes)",
        "splits.validation: Input should be 'train', 'val' or 'test', not 'validation'",
    ]
