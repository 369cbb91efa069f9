"""Task files: conventions, and label mapping of hand-checked rows in the format of the hub."""

from __future__ import annotations

import random
from typing import Any

import pytest
import yaml
from hub_rows import CHECKED, LETTERED

from latentwire.core.errors import DataError, UnknownNameError
from latentwire.data import load_task, task_names, task_table
from latentwire.data.build import ExampleBuilder
from latentwire.data.load import _FOLDER
from latentwire.data.templates import placeholders

TASKS = [
    *("ag_news", "arc_challenge", "arc_easy", "banking77", "bbc_news", "boolq", "commonsense_qa"),
    *("gsm8k", "hellaswag", "hotpot_qa", "openbookqa", "piqa", "rotten_tomatoes", "rte"),
    *("sms_spam", "squad", "sst2", "trec", "tweet_sentiment", "winogrande", "xsum"),
]

OFFICIAL = {
    "sst2": ("validation", 872),
    "ag_news": ("test", 7600),
    "trec": ("test", 500),
    "banking77": ("test", 3080),
    "arc_easy": ("test", 2376),
    "arc_challenge": ("test", 1172),
    "winogrande": ("validation", 1267),
    "hellaswag": ("validation", 10042),
    "boolq": ("validation", 3270),
    "piqa": ("validation", 1838),
    "commonsense_qa": ("validation", 1221),
    "openbookqa": ("test", 500),
    "gsm8k": ("test", 1319),
}


def test_task_names_are_complete() -> None:
    assert task_names() == TASKS


def test_task_has_a_hand_checked_row() -> None:
    assert {name for name, *_ in CHECKED} == set(TASKS)


@pytest.mark.parametrize(("name", "row", "answer", "context", "question"), CHECKED)
def test_example_builder_maps_a_hub_row(
    name: str, row: dict[str, Any], answer: str, context: str, question: str
) -> None:
    task = load_task(name)
    example = ExampleBuilder(task.spec)(row, "test-0")
    assert example.references[0] == answer
    assert example.context == context
    assert example.question == question
    assert example.context.endswith(example.protected)
    if task.kind == "generation":
        assert example.target is None and example.choices == ()
    else:
        assert example.target is not None and example.choices[example.target] == answer


def test_squad_has_no_repeated_references() -> None:
    row = next(row for name, row, *_ in CHECKED if name == "squad")
    example = ExampleBuilder(load_task("squad").spec)(row, "x")
    assert example.references == ("Norway", "in Norway")


def test_winogrande_has_the_contexts_of_the_harness() -> None:
    row = next(row for name, row, *_ in CHECKED if name == "winogrande")
    example = ExampleBuilder(load_task("winogrande").spec)(row, "x")
    assert example.contexts == (
        "The cup beat the jug as the cup",
        "The cup beat the jug as the jug",
    )
    assert example.continuation == "is light."


def test_hellaswag_reads_copies_with_only_the_joined_text() -> None:
    row = next(row for name, row, *_ in CHECKED if name == "hellaswag")
    bare = row | {"ctx_a": None, "ctx_b": None, "source_id": None}
    example = ExampleBuilder(load_task("hellaswag").spec)(bare, "x")
    assert example.question == "Baking: She mixes the dough. then the woman"


@pytest.mark.parametrize("name", TASKS)
def test_task_prompts_follow_the_conventions(name: str) -> None:
    task = load_task(name)
    assert task.name == name
    assert len(task.prompts) >= 3 and len(task.relay_prompts) >= 3
    assert len(set(task.prompts)) == len(task.prompts)
    for template in (*task.prompts, *task.relay_prompts, task.sender_prompt_aware):
        assert placeholders(template).count("context") == 1
        assert template == template.rstrip()
    for template in task.prompts:  # the text after the context is computed again for every example
        cue = template.partition("{context}")[2].replace("{question}", "")
        assert len(cue) < 60
    if "{question}" in "".join(task.prompts):
        assert all("{question}" in template for template in task.prompts)


@pytest.mark.parametrize("name", TASKS)
def test_task_sources_are_pinned(name: str) -> None:
    source = load_task(name).spec.source
    if source.hub:
        assert source.revision is not None and len(source.revision) == 40
    else:
        assert source.package is not None


@pytest.mark.parametrize("name", OFFICIAL)
def test_task_states_the_official_size_of_test(name: str) -> None:
    spec = load_task(name).spec
    split, size = OFFICIAL[name]
    assert spec.splits["test"] == split
    assert spec.source.sizes[split] == size


def test_load_task_accepts_unique_aliases() -> None:
    contents = [yaml.safe_load((_FOLDER / f"{name}.yaml").read_text()) for name in TASKS]
    aliases = [alias for content in contents for alias in content["aliases"]]
    assert len(set(aliases) | set(TASKS)) == len(aliases) + len(TASKS)
    for alias, name in {"agnews": "ag_news", "sst-2": "sst2", "CSQA": "commonsense_qa"}.items():
        assert load_task(alias).name == name


def test_load_task_suggests_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown task 'ag_new'\. Did you mean 'ag_news'\?"):
        load_task("ag_new")


def test_example_builder_refuses_rows_without_label() -> None:
    build = ExampleBuilder(load_task("sst2").spec)
    with pytest.raises(
        DataError, match=r"^test-4: label '-1' in field 'label' is not one of 0, 1. Check that this"
    ):
        build({"sentence": "a joy", "label": -1}, "test-4")


def test_example_builder_lists_existing_fields_if_one_is_missing() -> None:
    build = ExampleBuilder(load_task("sst2").spec)
    with pytest.raises(
        DataError, match=r"^test-0: no field 'sentence'; existing fields: label, text$"
    ):
        build({"text": "a joy", "label": 1}, "test-0")


def test_render_does_not_treat_texts_as_templates() -> None:
    task = load_task("boolq")
    text = task.render(task.prompts[0], "a {question} {labels} {", "what is {context}", task.labels)
    assert text == "a {question} {labels} {\nQuestion: what is {context}?\nAnswer:"
    listed = task.render("{labels}|{choices}|{other}", "", "", ("x", "y"))
    assert listed == "no, yes|A. x\nB. y|{other}"


def test_answers_of_letter_tasks_are_letters() -> None:
    row = next(row for name, row, *_ in CHECKED if name == "commonsense_qa")
    task = load_task("csqa")
    example = ExampleBuilder(task.spec)(row, "x")
    assert task.answers(example) == ("A", "B", "C")
    assert load_task("sst2").answers(example) == example.choices


def test_chance_counts_the_choices_of_each_item(put: Any) -> None:
    three = {"id": "a", "question": "q", "choices": LETTERED, "answerKey": "A"}
    two = three | {
        "id": "b",
        "choices": {"text": ["x", "y"], "label": ["1", "2"]},
        "answerKey": "2",
    }
    put("arc_easy", test=[three, two])
    task = load_task("arc_easy")
    assert task.chance == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert load_task("trec").chance == pytest.approx(1 / 6)
    assert load_task("gsm8k").chance == 0.0


def test_gold_scores_1_and_uniform_scores_chance(put: Any) -> None:
    rng = random.Random(0)
    rows = []
    for i in range(3000):
        n = rng.choice([3, 4, 5])
        texts, keys = [f"answer {i} {c}" for c in range(n)], list("ABCDE"[:n])
        choices = {"text": texts, "label": keys}
        rows.append(
            {"id": str(i), "question": f"q{i}", "choices": choices, "answerKey": rng.choice(keys)}
        )
    put("arc_easy", test=rows)
    task = load_task("arc_easy")
    examples = task.split("test")
    gold = [e.references == (e.choices[e.target or 0],) for e in examples]
    guessed = [rng.randrange(len(e.choices)) == e.target for e in examples]
    assert sum(gold) / len(gold) == 1.0
    three_sigma = 3 * (task.chance * (1 - task.chance) / len(examples)) ** 0.5
    assert abs(sum(guessed) / len(guessed) - task.chance) < three_sigma


def test_task_table_says_where_data_is_or_how_to_get_it(put: Any) -> None:
    put("ag_news", test=[{"text": f"news {i}", "label": i % 4} for i in range(8)])
    put("gsm8k", test=[{"question": "broken", "answer": "no mark"}])
    rows = {row.name: row for row in task_table()}
    assert list(rows) == TASKS
    assert rows["ag_news"].found and rows["ag_news"].sizes == {
        "train": None,
        "val": None,
        "test": 8,
    }
    assert not rows["trec"].found and rows["trec"].chance == pytest.approx(1 / 6)
    assert "$LATENTWIRE_DATA/trec/" in rows["trec"].source
    assert rows["arc_easy"].chance is None
    assert "no ####" in rows["gsm8k"].source
