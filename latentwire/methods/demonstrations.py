"""Solved examples that stand before a question: which, how many, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latentwire.data import Example
from latentwire.eval.context import Context
from latentwire.methods.label_prompts import right_label
from latentwire.models import LanguageModel
from latentwire.models.receiver import in_one_pass
from latentwire.prompting.builder import PromptBuilder

SEPARATOR = "\n\n"
_N_LONGEST = 8


class FewShotPromptBuilder(PromptBuilder):
    """Renders a template behind demonstrations in the same template.

    They are the static head of every prompt, so a model reads them once. A chat model is given
    demonstrations and question in one turn.

    Args:
        context: Gives the task, the limit and the setting.
        lm: The model that reads.
        template: A reader template without the place `{filled}`.
        shown: What is demonstrated, in this order; nothing makes a plain PromptBuilder.
    """

    def __init__(
        self, context: Context, lm: LanguageModel, template: str, shown: Sequence[Example]
    ) -> None:
        super().__init__(context.task, lm, template, context.max_tokens, context.setting)
        self._shown = ""
        self._shown = "".join(self._solved(example) + SEPARATOR for example in shown)
        self._static = self._shown + self._static

    def _solved(self, example: Example) -> str:
        return f"{self.render(self.cut(example)[0])} {right_label(self.task, example)}"

    def render(self, example: Example, filled: str = "") -> str:
        return self._shown + super().render(example, filled)


def draw_rounds(context: Context, train: Sequence[Example]) -> list[list[Example]]:
    """Training examples for demonstrations, drawn with the context's seed.

    Args:
        context: Gives the task, the seed and the number of shots.
        train: Training examples.
    Returns: Up to `context.shots` rounds. A round has one example of each label, in random order
        (one example, where labels differ from example to example), so that the first n rounds
        are n shots of each label. A label without training examples is in none.
    """
    task = context.task
    groups: dict[int | None, list[Example]] = {}
    for example in train:
        groups.setdefault(example.target if task.labels else None, []).append(example)
    draw = np.random.RandomState(context.seed)
    n = min([context.shots, *map(len, groups.values())])
    chosen = [
        [groups[key][i] for i in draw.permutation(len(groups[key]))[:n]]
        for key in sorted(groups, key=str)
    ]
    return [[of_label[i] for of_label in _shuffled(chosen, draw)] for i in range(n)]


def _shuffled(rows: Sequence[list[Example]], draw: np.random.RandomState) -> list[list[Example]]:
    return [rows[i] for i in draw.permutation(len(rows))]


def longest_examples(context: Context, train: Sequence[Example]) -> list[Example]:
    """The longest of the training and val examples, by characters: what has to fit."""
    known = [*train, *context.task.split("val")]
    return sorted(known, key=lambda e: len(e.context) + len(e.question))[-_N_LONGEST:]


def n_fitting(
    context: Context,
    lm: LanguageModel,
    template: str,
    rounds: Sequence[Sequence[Example]],
    longest: Sequence[Example],
) -> int:
    """How many rounds a prompt can show, at most.

    As many as the model can read. Where an answer is written, or choices are many, as many as leave
    its sliding window wide enough for demonstrations to be read once for all questions; where
    that is none, one.

    Args:
        context: Gives task and limits.
        lm: The model that reads.
        template: What it reads.
        rounds: See `draw_rounds`.
        longest: Questions that have to fit.
    Returns: 0 if not even one fits.
    """
    for n in range(len(rounds), 0, -1):
        size, once = _room(context, lm, template, rounds[:n], longest)
        if size <= lm.max_tokens and (once or n == 1 or size <= lm.window):
            return n
    return 0


def doublings(most: int) -> list[int]:
    """1, 2, 4 .. below `most`, and `most`; none for 0."""
    return [n for n in range(1, most + 1) if n & (n - 1) == 0 or n == most]


def _room(
    context: Context,
    lm: LanguageModel,
    template: str,
    rounds: Sequence[Sequence[Example]],
    longest: Sequence[Example],
) -> tuple[int, bool]:
    """Tokens of the longest prompt and answer, and whether its start is read once in any case."""
    shown = [example for each in rounds for example in each]
    builder = FewShotPromptBuilder(context, lm, template, shown)
    requests = [builder.build(example)[0] for example in longest]
    choices = [request.answers for request in requests]
    answers = [len(ids) for row in choices for ids in row]
    size = max(len(r.prompt.before) for r in requests)
    size += max([*answers, context.task.max_new_tokens])
    return size, context.task.kind != "generation" and in_one_pass(choices)
