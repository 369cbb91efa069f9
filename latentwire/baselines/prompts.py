"""Choosing a prompt on val, the same way for every method that has one."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")


def best_prompt(val_accuracy: dict[K, float]) -> K:
    """The candidate with the highest val accuracy, the first of equals."""
    return max(val_accuracy, key=val_accuracy.__getitem__)
