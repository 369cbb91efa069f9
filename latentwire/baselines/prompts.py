"""Choosing a prompt on val, the same way for every method that has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from latentwire.eval.method import Prediction

K = TypeVar("K")


def mean_value(predictions: Sequence[Prediction]) -> float:
    """Mean of the task's primary metric."""
    return sum(p.value for p in predictions) / len(predictions)


def best_prompt(on_val: dict[K, float]) -> K:
    """The candidate with the highest score on val, the first of equals."""
    return max(on_val, key=on_val.__getitem__)
