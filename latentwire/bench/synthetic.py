"""A synthetic task that needs no data, and examples of a given length of any task."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from latentwire.data import Example, Task, load_task
from latentwire.models import LanguageModel

_TASK = """\
name: synthetic
version: 1
kind: choice
metric: acc
labels: [hot, wet]
source:
  files: {train: train.csv, val: val.csv, test: test.csv}
splits: {train: train, val: val, test: test}
example: {context: "{text}", target: label, target_values: [hot, wet]}
prompts:
  - "Kinds: {labels}.\\nText: {context}\\nKind:"
  - "Which of {labels} is it?\\n{context}\\nAnswer:"
  - "{context}\\nIts kind is"
relay_prompts: ["Note: {context}\\nNote:", "Sum: {context}\\nSum:", "Facts: {context}\\nFacts:"]
sender_prompt_aware: "Kinds: {labels}.\\nText: {context}\\nKind:"
max_context_tokens: 64
"""
_WORDS = {"hot": ("fire", "blood", "rose", "flame"), "wet": ("sea", "sky", "rain", "lake")}


def synthetic_task(folder: Path, n_train: int, n_words: int = 8) -> Task:
    """Return a task with two labels whose texts are random words.

    Args:
        folder: Folder for its files, which are read as long as the task is used.
        n_train: Number of training examples; val and test have 32 each.
        n_words: Number of words per text; a number that makes the text unique follows.
    """
    draw = random.Random(0)
    number = 0
    for split, count in (("train", n_train), ("val", 32), ("test", 32)):
        with (folder / f"{split}.csv").open("w", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(["text", "label"])
            for _ in range(count):
                label = draw.choice(sorted(_WORDS))
                number += 1
                words = draw.choices(_WORDS[label], k=n_words)
                rows.writerow([" ".join([*words, str(number)]), label])
    (folder / "synthetic.yaml").write_text(_TASK)
    return load_task(folder / "synthetic.yaml")


def examples_of_length(
    task: Task, lm: LanguageModel, n: int, n_tokens: int | None, seed: int = 0
) -> list[Example]:
    """Return val examples of a task, with texts of one length.

    Args:
        task: Task whose val split provides the texts.
        lm: Model whose tokenizer counts the tokens.
        n: Number of examples.
        n_tokens: Number of tokens per text. Texts are all different; short ones are extended
            with other texts of the split. None leaves texts unchanged and repeats them only after
            all were used.
        seed: Random seed for the choice of texts.
    """
    found = task.sample("val", min(max(n, 64), len(task.split("val"))), seed)
    if n_tokens is None:
        return [found[i % len(found)] for i in range(n)]
    draw = random.Random(seed)
    return [_of_length(found, i, lm, n_tokens, draw) for i in range(n)]


def _of_length(
    found: Sequence[Example], i: int, lm: LanguageModel, n_tokens: int, draw: random.Random
) -> Example:
    first = found[i % len(found)]
    text = f"{i} {first.context}"  # the number makes repeated texts different
    while not lm.truncate(text, n_tokens)[1]:
        text += " " + draw.choice(found).context
    return replace(first, id=f"{first.id}-{i}", context=lm.truncate(text, n_tokens)[0])
