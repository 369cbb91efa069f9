"""One hand-checked row of every task in the format of the hub, and files made from them."""

from __future__ import annotations

import copy
import random
from typing import Any

from latentwire.data import load_task
from latentwire.data.spec import ExampleSpec
from latentwire.data.templates import field

LETTERED = {"text": ["a rock", "a fish", "a lamp"], "label": ["A", "B", "C"]}

# task, row as on the hub, right answer, context, question
CHECKED: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("sst2", {"idx": 3, "sentence": "a joy . ", "label": 1}, "positive", "a joy .", ""),
    ("sst2", {"idx": 4, "sentence": "a bore . ", "label": 0}, "negative", "a bore .", ""),
    ("rotten_tomatoes", {"text": "a joy .", "label": 1}, "positive", "a joy .", ""),
    ("rotten_tomatoes", {"text": "a bore .", "label": 0}, "negative", "a bore .", ""),
    ("ag_news", {"text": "Envoys meet", "label": 0}, "world", "Envoys meet", ""),
    ("ag_news", {"text": "Cup final", "label": 1}, "sports", "Cup final", ""),
    ("ag_news", {"text": "Shares fall", "label": 2}, "business", "Shares fall", ""),
    ("ag_news", {"text": "New chip", "label": 3}, "technology", "New chip", ""),
    (
        "trec",
        {"text": "What does CPU stand for ?", "coarse_label": 0, "fine_label": 0},
        "abbreviation",
        "What does CPU stand for ?",
        "",
    ),
    ("trec", {"text": "What bird talks ?", "coarse_label": 1}, "entity", "What bird talks ?", ""),
    ("trec", {"text": "What is rain ?", "coarse_label": 2}, "description", "What is rain ?", ""),
    ("trec", {"text": "Who wrote Emma ?", "coarse_label": 3}, "person", "Who wrote Emma ?", ""),
    ("trec", {"text": "Where is Oslo ?", "coarse_label": 4}, "location", "Where is Oslo ?", ""),
    ("trec", {"text": "How many ?", "coarse_label": 5}, "number", "How many ?", ""),
    ("banking77", {"text": "Where is it?", "label": 11}, "card arrival", "Where is it?", ""),
    ("banking77", {"text": "Turn it on", "label": 0}, "activate my card", "Turn it on", ""),
    (
        "banking77",
        {"text": "The rate was off", "label": 76},
        "wrong exchange rate for cash withdrawal",
        "The rate was off",
        "",
    ),
    ("sms_spam", {"sms": "See you at 5\n", "label": 0}, "normal", "See you at 5", ""),
    ("sms_spam", {"sms": "WIN a prize\n", "label": 1}, "spam", "WIN a prize", ""),
    (
        "bbc_news",
        {"text": "Cup\n\nfinal  today", "folder": "sports", "file": "001"},
        "sport",
        "Cup final today",
        "",
    ),
    (
        "tweet_sentiment",
        {"sentiment": "positive", "confidence": "1", "text": "so good_\ufffd\ufffd_ here"},
        "positive",
        "so good here",
        "",
    ),
    (
        "rte",
        {"sentence1": "Ann ran.", "sentence2": "Ann moved.", "label": 0, "idx": 0},
        "True",
        "Ann ran.\nQuestion: Ann moved. True or False?",
        "",
    ),
    (
        "rte",
        {"sentence1": "Ann ran.", "sentence2": "Ann sat.", "label": 1, "idx": 1},
        "False",
        "Ann ran.\nQuestion: Ann sat. True or False?",
        "",
    ),
    (
        "arc_easy",
        {"id": "X_1", "question": "Which swims?", "choices": LETTERED, "answerKey": "B"},
        "a fish",
        "Which swims?\nA. a rock\nB. a fish\nC. a lamp",
        "Which swims?",
    ),
    (
        "arc_challenge",
        {
            "id": "X_2",
            "question": "Which swims?",
            "choices": {"text": ["w", "x", "y", "z", "fish"], "label": ["1", "2", "3", "4", "5"]},
            "answerKey": "5",
        },
        "fish",
        "Which swims?\nA. w\nB. x\nC. y\nD. z\nE. fish",
        "Which swims?",
    ),
    (
        "openbookqa",
        {"id": "7-1", "question_stem": "It swims:", "choices": LETTERED, "answerKey": "B"},
        "a fish",
        "It swims:\nA. a rock\nB. a fish\nC. a lamp",
        "It swims:",
    ),
    (
        "commonsense_qa",
        {
            "id": "q1",
            "question": "What swims?",
            "question_concept": "swim",
            "choices": LETTERED,
            "answerKey": "B",
        },
        "a fish",
        "What swims?\nA. a rock\nB. a fish\nC. a lamp",
        "What swims?",
    ),
    (
        "piqa",
        {"goal": "Dry a shirt", "sol1": "Soak it.", "sol2": "Hang it up.", "label": 1},
        "Hang it up.",
        "Dry a shirt\nA. Soak it.\nB. Hang it up.",
        "Dry a shirt",
    ),
    (
        "winogrande",
        {"sentence": "The cup beat the jug as the _ is light.", "option1": "cup", "option2": "jug"}
        | {"answer": "1"},
        "cup",
        "The cup beat the jug as the _ is light.\nA. cup\nB. jug",
        "The cup beat the jug as the _ is light.",
    ),
    (
        "hellaswag",
        {
            "ind": 1,
            "activity_label": "Baking",
            "ctx_a": "She mixes the dough.",
            "ctx_b": "then the woman",
            "ctx": "She mixes the dough. then the woman",
            "endings": ["flies.", "bakes [substeps] it.", "sings.", "sleeps."],
            "source_id": "v1",
            "label": "1",
        },
        "bakes it.",
        "Baking: She mixes the dough. Then the woman\n"
        "A. flies.\nB. bakes it.\nC. sings.\nD. sleeps.",
        "Baking: She mixes the dough. Then the woman",
    ),
    (
        "boolq",
        {"question": "is ice cold", "answer": True, "passage": "Ice is frozen water."},
        "yes",
        "Ice is frozen water.",
        "is ice cold",
    ),
    (
        "boolq",
        {"question": "is ice hot", "answer": False, "passage": "Ice is frozen water."},
        "no",
        "Ice is frozen water.",
        "is ice hot",
    ),
    (
        "gsm8k",
        {"question": "500 boxes of 2?", "answer": "500*2=<<500*2=1000>>1000.\n#### 1,000"},
        "1000",
        "500 boxes of 2?",
        "",
    ),
    (
        "squad",
        {
            "id": "s1",
            "title": "Oslo",
            "context": "Oslo lies in Norway.",
            "question": "Where is Oslo?",
            "answers": {"text": ["Norway", "in Norway", "Norway"], "answer_start": [13, 10, 13]},
        },
        "Norway",
        "Oslo lies in Norway.",
        "Where is Oslo?",
    ),
    (
        "hotpot_qa",
        {
            "id": "h1",
            "question": "Where was Ann born?",
            "answer": "Oslo",
            "context": {
                "title": ["Ann", "Bo"],
                "sentences": [["Ann is old.", " Born in Oslo."], ["Bo."]],
            },
        },
        "Oslo",
        "Ann: Ann is old. Born in Oslo.\nBo: Bo.",
        "Where was Ann born?",
    ),
    (
        "xsum",
        {"document": "Long text.", "summary": "Short.", "id": "9"},
        "Short.",
        "Long text.",
        "",
    ),
]


def many_rows(name: str, n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return rows of a task with different texts and random labels.

    Args:
        name: A task of `CHECKED`.
        n: Number of rows.
        seed: Random seed of the labels.
    """
    draw = random.Random(seed)
    spec = load_task(name).spec.example
    row = next(row for checked, row, *_ in CHECKED if checked == name)
    return [_varied(copy.deepcopy(row), name, spec, i, draw) for i in range(n)]


_TEXTS = ("sentence", "text", "sms", "sentence1", "question", "question_stem", "goal", "passage")
_TEXTS += ("ctx_a", "document", "title")


def _varied(
    row: dict[str, Any], name: str, spec: ExampleSpec, i: int, draw: random.Random
) -> dict[str, Any]:
    for key in _TEXTS:
        if isinstance(row.get(key), str):
            row[key] = f"{_word(i)} {row[key]}"
    for key in ("id", "file"):
        if key in row:
            row[key] = f"{row[key]}-{i}"
    if name == "winogrande":  # twins have the same options
        row["option1"], row["option2"] = f"cup {i}", f"jug {i}"
    if spec.target is not None:
        row[spec.target] = draw.choice(_allowed(row, name, spec))
    return row


def _allowed(row: dict[str, Any], name: str, spec: ExampleSpec) -> list[Any]:
    """Return the allowed labels of a row in the format of the hub."""
    if isinstance(spec.target_values, list):
        return list(spec.target_values)
    if isinstance(spec.target_values, str):
        return list(field(row, spec.target_values))
    return list(range(len(load_task(name).labels)))


def _word(i: int) -> str:
    """Return a unique word for each row, without digits, which some tasks ignore."""
    return "".join("abcdefghij"[int(digit)] for digit in f"{i:05d}")
