"""The text with its least telling words left out, down to a budget of bytes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS
from latentwire.methods.handoff import HandedText

_TERM = re.compile(r"\w+")


@METHODS.add("compressed_text")
class CompressedText(HandedText):
    """Keeps the words of highest tf-idf, in their order, and hands those to the receiver.

    How common a word is comes from the training texts; labels are not looked at. What is pruned
    is the text that a bridge's sender reads, and it stands where a message would stand.

    Source: for tf-idf, Sparck Jones 1972, Journal of Documentation 28(1); smoothed as in
    scikit-learn.
    """

    about = "the text's most telling words"
    position = 53
    version = 2  # 2: calibrated labels

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.budget = context.compressed_bytes
        if self.budget < 1:
            raise UsageError(f"compressed_bytes must be 1 or more, not {self.budget}.")
        self.rarity: dict[str, float] = {}
        self.unseen = 0.0

    def prepare(self, progress: Progress) -> None:
        train = self.context.train_examples()
        self.rarity, self.unseen = rarity_of([example.context for example in train])
        super().prepare(progress)

    def texts(self, examples: Sequence[Example], progress: Progress, fresh: bool) -> list[str]:
        read = self.context.sender_texts(examples, "raw")
        return [prune(text, self.budget, self.rarity, self.unseen) for text in read]

    def settings(self) -> dict[str, Any]:
        return {"budget_bytes": self.budget, "known_words": len(self.rarity), **super().settings()}


def rarity_of(texts: Sequence[str]) -> tuple[dict[str, float], float]:
    """Smoothed inverse document frequency of every word, and that of a word no text has."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(tokenizer=_terms, token_pattern=None, lowercase=False).fit(texts)
    names = vectorizer.get_feature_names_out()
    return dict(zip(names, vectorizer.idf_.tolist())), math.log(1 + len(texts)) + 1


def prune(text: str, budget: int, rarity: Mapping[str, float], unseen: float) -> str:
    """The words of `text` with the highest tf-idf, in their order, at most `budget` bytes.

    A text that fits is left as it is. Of a word that repeats, the first stays. A word that does
    not fit any more makes room for the next best that does.

    Args:
        text: Any text; words stand between white space.
        budget: Bytes of the result in UTF-8, the spaces between its words included.
        rarity: Inverse document frequency of known terms.
        unseen: That of all others.
    """
    if len(text.encode()) <= budget:
        return text
    firsts: dict[tuple[str, ...], str] = {}
    for word in text.split():
        firsts.setdefault(tuple(_terms(word)), word)
    words = list(firsts.values())
    counts = Counter(_terms(text))

    def telling(word: str) -> float:
        return max((counts[t] * rarity.get(t, unseen) for t in _terms(word)), default=0.0)

    weights = [telling(word) for word in words]
    kept: list[int] = []
    used = 0
    for i in sorted(range(len(words)), key=lambda i: (-weights[i], i)):
        size = len(words[i].encode()) + (1 if kept else 0)
        if used + size <= budget:
            kept.append(i)
            used += size
    return " ".join(words[i] for i in sorted(kept))


def _terms(text: str) -> list[str]:
    return _TERM.findall(text.lower())
