"""The text reduced to its most informative words, within a budget of bytes."""

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
from latentwire.methods.handoff import TextHandoff

_TERM = re.compile(r"\w+")


@METHODS.add("compressed_text")
class CompressedText(TextHandoff):
    """Sends the words of the text with the highest tf-idf, in their order, to the receiver.

    Document frequencies are those of the training texts; labels are not used.

    Args:
        context: Context of the method.
        max_bytes: Maximum number of bytes of a compressed text.
    Source: Sparck Jones 1972, Journal of Documentation 28(1), for tf-idf; smoothed as in
        scikit-learn.
    """

    about = "most informative words of the text"
    position = 53
    version = 2  # 2: calibrated labels

    def __init__(self, context: Context, *, max_bytes: int = 128) -> None:
        super().__init__(context)
        if max_bytes < 1:
            raise UsageError(f"max_bytes of compressed_text must be 1 or more, not {max_bytes}.")
        self.max_bytes = max_bytes
        self.idf: dict[str, float] = {}
        self.unseen = 0.0

    def prepare(self, progress: Progress) -> None:
        train = self.context.train_examples()
        self.idf, self.unseen = inverse_document_frequencies([each.context for each in train])
        super().prepare(progress)

    def texts(self, examples: Sequence[Example], progress: Progress, fresh: bool) -> list[str]:
        texts = self.context.sender_texts(examples, "raw")
        return [prune(text, self.max_bytes, self.idf, self.unseen) for text in texts]

    def settings(self) -> dict[str, Any]:
        return {"budget_bytes": self.max_bytes, "known_words": len(self.idf), **super().settings()}


def inverse_document_frequencies(texts: Sequence[str]) -> tuple[dict[str, float], float]:
    """Return the smoothed inverse document frequency of each term, and that of unseen terms."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(tokenizer=_terms, token_pattern=None, lowercase=False).fit(texts)
    names = vectorizer.get_feature_names_out()
    return dict(zip(names, vectorizer.idf_.tolist(), strict=True)), math.log(1 + len(texts)) + 1


def prune(text: str, max_bytes: int, idf: Mapping[str, float], unseen: float) -> str:
    """Return the words of a text with the highest tf-idf, in their order.

    A text within the budget is unchanged. Of repeated words the first occurrence is kept. Words
    that no longer fit are skipped.

    Args:
        text: Any text; words are separated by white space.
        max_bytes: Maximum number of bytes of the result in UTF-8, spaces included.
        idf: Inverse document frequency of known terms.
        unseen: Inverse document frequency of all other terms.
    """
    if len(text.encode()) <= max_bytes:
        return text
    firsts: dict[tuple[str, ...], str] = {}
    for word in text.split():
        firsts.setdefault(tuple(_terms(word)), word)
    words = list(firsts.values())
    counts = Counter(_terms(text))

    def weight(word: str) -> float:
        return max((counts[term] * idf.get(term, unseen) for term in _terms(word)), default=0.0)

    weights = [weight(word) for word in words]
    kept: list[int] = []
    used = 0
    for i in sorted(range(len(words)), key=lambda i: (-weights[i], i)):
        size = len(words[i].encode()) + (1 if kept else 0)
        if used + size <= max_bytes:
            kept.append(i)
            used += size
    return " ".join(words[i] for i in sorted(kept))


def _terms(text: str) -> list[str]:
    return _TERM.findall(text.lower())
