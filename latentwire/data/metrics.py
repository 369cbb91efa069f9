"""Metrics of one answer: accuracy, exact match, F1, ROUGE-L, final number."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from latentwire.data import Example, Task


@dataclass(frozen=True)
class Response:
    """Answer to one example: scores of choices, or text.

    Args:
        scores: Score of each choice, higher is better: the summed log-likelihood of its tokens
            in nats, or another confidence. Empty for a generated answer.
        sizes: Number of bytes of the text that each score covers; empty if scores must not be
            normalized by length.
        text: Generated answer; None if choices were scored.
    """

    scores: tuple[float, ...] = ()
    sizes: tuple[int, ...] = ()
    text: str | None = None


_ARTICLES = re.compile(r"\b(a|an|the)\b")
# A minus after a word or a bracket is not a sign: `2010-12`, `(a)-3`.
_NUMBER = re.compile(r"(?:(?<![\w)])-)?(?:\d[\d,]*)?(?:\.\d+|\d)")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
RIGHT_OR_WRONG = ("acc", "acc_norm", "exact_match", "final_number")
"""Metrics that are 0 or 1 for each example."""


def choose(task: Task, example: Example, response: Response) -> tuple[int | None, dict[str, float]]:
    """Return the index of the choice with the best score, and the accuracies of one example.

    `acc` compares summed log-likelihoods, `acc_norm` log-likelihoods per byte. Ties go to
    the first choice. The returned index is the best choice by the task's primary metric.

    Returns: The index, None if no score is finite, and `acc` and `acc_norm`, each 0 or 1.
    Source: lm-evaluation-harness, metrics acc and acc_norm (there per character).
    """
    scores = [s if not math.isnan(s) else -math.inf for s in response.scores]
    if not any(math.isfinite(score) for score in scores):
        return None, {"acc": 0.0, "acc_norm": 0.0}
    sizes = response.sizes or [1] * len(scores)
    best = {"acc": _argmax(scores), "acc_norm": _argmax([s / n for s, n in zip(scores, sizes)])}
    return best[task.metric], {name: float(i == example.target) for name, i in best.items()}


def read_text(task: Task, example: Example, text: str) -> tuple[bool, dict[str, float]]:
    """Return whether a generated answer can be parsed, and the task's metrics for it.

    An answer that cannot be parsed (empty, or without a number if the task needs one) scores 0.
    """
    references = example.references
    if task.metric == "final_number":
        found = final_number(text)
        wanted = [final_number(reference) for reference in references]
        return found is not None, {"final_number": float(found is not None and found in wanted)}
    if task.metric == "rouge_l":
        values = {"rouge_l": max(rouge_l(text, reference) for reference in references)}
    else:
        values = {
            "exact_match": max(exact_match(text, reference) for reference in references),
            "f1": max(f1(text, reference) for reference in references),
        }
    return bool(text.strip()), values


def normalize(text: str) -> str:
    """Return a text in lower case without punctuation, articles and repeated spaces.

    Source: the official evaluation script of SQuAD v1.1 (Rajpurkar et al. 2016).
    """
    plain = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def exact_match(text: str, reference: str) -> float:
    """Return 1 if both texts are equal after `normalize`, else 0."""
    return float(normalize(text) == normalize(reference))


def f1(text: str, reference: str) -> float:
    """Return the harmonic mean of word precision and recall after `normalize`, 0..1.

    Two answers that are both empty after `normalize` score 1, as in the script of SQuAD v2.0.

    Source: the official evaluation script of SQuAD v1.1.
    """
    said, wanted = normalize(text).split(), normalize(reference).split()
    if not said or not wanted:
        return float(said == wanted)
    shared = (Counter(said) & Counter(wanted)).total()
    return 2 * shared / (len(said) + len(wanted))


def final_number(text: str) -> Decimal | None:
    """Return the number after `####`, else the last number of a text; None if there is none.

    `$1,234.50`, `1234.5` and `1234.50` are equal.

    Source: Cobbe et al. 2021, GSM8K, arXiv:2110.14168 (the #### mark).
    """
    marked = text.rpartition("####")[2] if "####" in text else ""
    numbers = _NUMBER.findall(marked)[:1] or _NUMBER.findall(text)[-1:]
    try:
        return Decimal(numbers[0].replace(",", "")) if numbers else None
    except InvalidOperation:
        return None


def rouge_l(text: str, reference: str) -> float:
    """Return the F-measure of the longest common subsequence of stemmed words, 0..1.

    Source: Lin 2004, ROUGE; computed with the package rouge-score.
    """
    return float(_rouge().score(reference, text)["rougeL"].fmeasure)


@lru_cache(maxsize=1)
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=True)


def _argmax(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
