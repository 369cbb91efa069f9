"""What an answer is worth: every metric of a task on one example."""

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
    """What came back for one example.

    Args:
        scores: One per choice, higher is better: the summed log-likelihood of its tokens, or
            the confidence of a method that decides in its own way. Empty for a written answer.
        sizes: Bytes of the words behind each score; empty where lengths mean nothing.
        text: The written answer; None where choices were scored.
    """

    scores: tuple[float, ...] = ()
    sizes: tuple[int, ...] = ()
    text: str | None = None


_ARTICLES = re.compile(r"\b(a|an|the)\b")
# A minus behind a word or a bracket joins or subtracts: `2010-12`, `(a)-3`.
_NUMBER = re.compile(r"(?:(?<![\w)])-)?(?:\d[\d,]*)?(?:\.\d+|\d)")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
RIGHT_OR_WRONG = ("acc", "acc_norm", "exact_match", "final_number")
"""Metrics that are 0 or 1 for one example: shares of right answers."""


def choose(task: Task, example: Example, response: Response) -> tuple[int | None, dict[str, float]]:
    """The choice that the task's primary metric makes, and both accuracies.

    `acc` takes the highest summed log-likelihood, `acc_norm` the highest per byte of the words
    scored; the first of equals.

    Returns: None for the choice if no score is a number: the answer cannot be read.
    Source: lm-evaluation-harness, metrics acc and acc_norm (there per character).
    """
    scores = [s if not math.isnan(s) else -math.inf for s in response.scores]
    if not any(math.isfinite(score) for score in scores):
        return None, {"acc": 0.0, "acc_norm": 0.0}
    sizes = response.sizes or [1] * len(scores)
    best = {"acc": _argmax(scores), "acc_norm": _argmax([s / n for s, n in zip(scores, sizes)])}
    return best[task.metric], {name: float(i == example.target) for name, i in best.items()}


def read_text(task: Task, example: Example, text: str) -> tuple[bool, dict[str, float]]:
    """Whether a written answer can be read at all, and every metric that fits the task.

    An answer that cannot be read (empty; without a number where one is asked for) scores 0.
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


def normalise(text: str) -> str:
    """Lower case without punctuation, articles and double spaces.

    Source: the official evaluation script of SQuAD v1.1 (Rajpurkar et al. 2016).
    """
    plain = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def exact_match(text: str, reference: str) -> float:
    """1 if both are equal after `normalise`, else 0."""
    return float(normalise(text) == normalise(reference))


def f1(text: str, reference: str) -> float:
    """Harmonic mean of word precision and recall after `normalise`, 0..1.

    Source: the official evaluation script of SQuAD v1.1; two answers that are empty after
    `normalise` agree, as in the script of v2.0.
    """
    said, wanted = normalise(text).split(), normalise(reference).split()
    if not said or not wanted:
        return float(said == wanted)
    shared = (Counter(said) & Counter(wanted)).total()
    return 2 * shared / (len(said) + len(wanted))


def final_number(text: str) -> Decimal | None:
    """The number behind `####` if there is one, else the last number; None if there is none.

    `$1,234.50`, `1234.5` and `1234.50` are one number.

    Source: Cobbe et al. 2021, GSM8K, arXiv:2110.14168 (the #### mark).
    """
    marked = text.rpartition("####")[2] if "####" in text else ""
    numbers = _NUMBER.findall(marked)[:1] or _NUMBER.findall(text)[-1:]
    try:
        return Decimal(numbers[0].replace(",", "")) if numbers else None
    except InvalidOperation:
        return None


def rouge_l(text: str, reference: str) -> float:
    """F-measure of the longest common subsequence of stemmed words, 0..1.

    Source: Lin 2004, ROUGE; computed by rouge-score with stemming.
    """
    return float(_rouge().score(reference, text)["rougeL"].fmeasure)


@lru_cache(maxsize=1)
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=True)


def _argmax(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
