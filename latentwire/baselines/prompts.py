"""Choosing a prompt on val, the same way for every method that has one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from latentwire.eval.method import Prediction
from latentwire.models import Receiver

K = TypeVar("K")

TURN, PLAIN = "chat turn", "plain text"


class Wording(NamedTuple):
    """How a model that reads the text is asked: as a chat turn or in plain text, in which words."""

    form: str
    template: str


def readers_by_form(reader: Receiver) -> dict[str, Receiver]:
    """The forms in which a model can be asked, its own first: a chat model reads plain text, too.

    A small chat model may answer far better in plain text (docs/LOG.md, 2026-11-28), so which form
    it is asked in is tried on val like the words of a prompt.
    """
    if not reader.lm.is_chat:
        return {PLAIN: reader}
    return {TURN: reader, PLAIN: Receiver(reader.lm.without_chat())}


def mean_value(predictions: Sequence[Prediction]) -> float:
    """Mean of the task's primary metric."""
    return sum(p.value for p in predictions) / len(predictions)


def best_prompt(on_val: Mapping[K, float]) -> K:
    """The candidate with the highest score on val, the first of equals."""
    return max(on_val, key=on_val.__getitem__)


def by_form(values: Mapping[Wording, Any]) -> dict[str, dict[str, Any]]:
    """What is known of each wording, for a record: by form, then by template."""
    found: dict[str, dict[str, Any]] = {}
    for wording, value in values.items():
        found.setdefault(wording.form, {})[wording.template] = value
    return found
