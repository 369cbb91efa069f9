"""Evaluate every task with correct answers (score 1) and with guesses (score at chance)."""

from __future__ import annotations

from typing import Any

import pytest
from hub_rows import CHECKED, many_rows
from scipy.stats import binomtest

from latentwire import evaluate, load_task
from latentwire.core.progress import Progress
from latentwire.eval.results import MethodResult
from latentwire.models import load_model

N = 120
TASKS = sorted({name for name, *_ in CHECKED})


@pytest.mark.parametrize("name", TASKS)
def test_task_scores_correct_answers_1_and_guesses_at_chance(name: str, put: Any) -> None:
    task = load_task(name)
    spec = task.spec.source
    folder = (spec.folders or [name])[0]
    splits = sorted(set(task.spec.splits.values()))
    rows = many_rows(name, N * len(splits))
    put(folder, **{split: rows[i * N : (i + 1) * N] for i, split in enumerate(splits)})
    pair = load_model("fake-llama"), load_model("fake-gemma")
    guessing = [] if task.kind == "generation" else ["uniform", "zeroshot_receiver"]
    found = evaluate(
        pair,
        load_task(name),
        methods=["gold", *guessing],
        limit=30 if len(task.labels) > 20 else None,
        prompt_val_limit=1,
        timed=0,
        progress=Progress(),
    )
    gold = found.methods["gold"]
    assert {metric: score.value for metric, score in gold.metrics.items()} == {
        metric: 1.0 for metric in gold.metrics
    }
    assert next(iter(gold.metrics)) == task.metric and gold.unparsed == 0
    for (
        method
    ) in guessing:  # labels are random, so that a model that reads the text cannot know them
        assert _is_chance(found.methods[method], found.chance), method


def _is_chance(result: MethodResult, chance: float) -> bool:
    score = result.accuracy
    assert score is not None and score.n >= 20
    return binomtest(round(score.value * score.n), score.n, chance).pvalue > 1e-3
