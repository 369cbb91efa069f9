"""Choosing a prompt on val, the same way for every method that has one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from latentwire.eval.method import Prediction
from latentwire.models import LanguageModel, Receiver

K = TypeVar("K")

TURN, PLAIN = "chat turn", "plain text"


class Wording(NamedTuple):
    """How a model that reads the text is asked.

    Args:
        form: As a chat turn or in plain text.
        template: In which words.
        shots: How many solved examples of each label stand before them.
    """

    form: str
    template: str
    shots: int = 0

    def to_json(self) -> dict[str, Any]:
        """For a record."""
        return {"prompt": self.template, "form": self.form, "shots": self.shots}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Wording:
        """From a record. Raises: KeyError."""
        return cls(row["form"], row["prompt"], row["shots"])


def own_form(lm: LanguageModel) -> str:
    """The form in which a model is asked behind a message, and in which it is fine-tuned."""
    return TURN if lm.is_chat else PLAIN


def readers_by_form(reader: Receiver) -> dict[str, Receiver]:
    """The forms in which a model can be asked, its own first: a chat model reads plain text, too.

    A small chat model may answer far better in plain text (docs/LOG.md, 2026-11-28), so which form
    it is asked in is tried on val like the words of a prompt.
    """
    forms = {own_form(reader.lm): reader}
    return forms if PLAIN in forms else {**forms, PLAIN: Receiver(reader.lm.without_chat())}


def mean_value(predictions: Sequence[Prediction]) -> float:
    """Mean of the task's primary metric."""
    return sum(p.value for p in predictions) / len(predictions)


def best_prompt(on_val: Mapping[K, float]) -> K:
    """The candidate with the highest score on val, the first of equals."""
    return max(on_val, key=on_val.__getitem__)
