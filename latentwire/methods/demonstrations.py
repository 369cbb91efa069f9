"""Demonstrations: selection of solved examples, and prompts that show them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latentwire.data import Example
from latentwire.eval.context import Context
from latentwire.methods.label_prompts import correct_label
from latentwire.models import LanguageModel
from latentwire.models.receiver import in_one_pass
from latentwire.prompting.builder import PromptBuilder

SEPARATOR = "\n\n"
_N_LONGEST = 8


class FewShotPromptBuilder(PromptBuilder):
    """Builds prompts with demonstrations before the question, all in the same template.

    Demonstrations are the static start of every prompt, so they are computed once. A chat model
    gets demonstrations and question in one turn.

    Args:
        context: Context with task, limit and setting.
        lm: Model that reads the prompt.
        template: Template for a reader, without the placeholder `{filled}`.
        shown: Demonstrations in order; may be empty.
    """

    def __init__(
        self, context: Context, lm: LanguageModel, template: str, shown: Sequence[Example]
    ) -> None:
        super().__init__(context.task, lm, template, context.max_tokens, context.setting)
        self._shown = ""
        self._shown = "".join(self._solved(example) + SEPARATOR for example in shown)
        self._static = self._shown + self._static

    def _solved(self, example: Example) -> str:
        return f"{self.render(self.cut(example)[0])} {correct_label(self.task, example)}"

    def render(self, example: Example, filled: str = "") -> str:
        return self._shown + super().render(example, filled)


def draw_rounds(context: Context, train: Sequence[Example], shots: int) -> list[list[Example]]:
    """Draw demonstrations from training examples with the seed of the context.

    Args:
        context: Context with task and seed.
        train: Training examples.
        shots: Maximum number of rounds, >= 1.
    Returns: Rounds. A round has one example of each label in random order, or one example in total
        if labels differ per example, so the first n rounds are n shots per label. Labels without
        training examples are in no round.
    """
    task = context.task
    groups: dict[int | None, list[Example]] = {}
    for example in train:
        groups.setdefault(example.target if task.labels else None, []).append(example)
    draw = np.random.RandomState(context.seed)
    n = min([shots, *map(len, groups.values())])
    chosen = [
        [groups[key][i] for i in draw.permutation(len(groups[key]))[:n]]
        for key in sorted(groups, key=str)
    ]
    return [[of_label[i] for of_label in _shuffled(chosen, draw)] for i in range(n)]


def _shuffled(rows: Sequence[list[Example]], draw: np.random.RandomState) -> list[list[Example]]:
    return [rows[i] for i in draw.permutation(len(rows))]


def longest_examples(context: Context, train: Sequence[Example]) -> list[Example]:
    """Return the longest training and val examples by characters."""
    known = [*train, *context.task.split("val")]
    return sorted(known, key=lambda e: len(e.context) + len(e.question))[-_N_LONGEST:]


def n_fitting(
    context: Context,
    lm: LanguageModel,
    template: str,
    rounds: Sequence[Sequence[Example]],
    longest: Sequence[Example],
) -> int:
    """Return the maximum number of rounds that fit into a prompt.

    The limit is the context length of the model. If answers are written, or choices need several
    passes, prompts with more than one round must also fit into the sliding window of the model,
    so that the cached demonstrations can be reused.

    Args:
        context: Context with task and limits.
        lm: Model that reads the prompt.
        template: Template of the prompt.
        rounds: See `draw_rounds`.
        longest: Examples whose questions must fit.
    Returns: Number of rounds; 0 if not even one fits.
    """
    for n in range(len(rounds), 0, -1):
        size, once = _size_of_prompt(context, lm, template, rounds[:n], longest)
        if size <= lm.max_tokens and (once or n == 1 or size <= lm.window):
            return n
    return 0


def doublings(most: int) -> list[int]:
    """Return the powers of two below `most`, and `most`; an empty list for 0."""
    return [n for n in range(1, most + 1) if n & (n - 1) == 0 or n == most]


def _size_of_prompt(
    context: Context,
    lm: LanguageModel,
    template: str,
    rounds: Sequence[Sequence[Example]],
    longest: Sequence[Example],
) -> tuple[int, bool]:
    """Return the maximum length in tokens, and whether one pass scores all choices."""
    shown = [example for each in rounds for example in each]
    builder = FewShotPromptBuilder(context, lm, template, shown)
    requests = [builder.build(example)[0] for example in longest]
    choices = [request.answers for request in requests]
    answers = [len(ids) for row in choices for ids in row]
    size = max(len(r.prompt.before) for r in requests)
    size += max([*answers, context.task.max_new_tokens])
    return size, context.task.kind != "generation" and in_one_pass(choices)
