"""Find shared words and frequent tokens of texts, to initialize a bridge for a pair of models."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from latentwire.bridge import AlignedSpans
from latentwire.models import LanguageModel, SenderStates

_WORD = re.compile(r"\S+")
_MAX_SPANS = 16_384
_MAX_EMBEDDINGS = 16_384


@torch.no_grad()
def shared_spans(
    texts: Sequence[str],
    states: SenderStates,
    sender: LanguageModel,
    receiver: LanguageModel,
    max_spans: int = _MAX_SPANS,
) -> AlignedSpans:
    """Pair the words of texts: mean sender state and mean receiver embedding of each word.

    Words are separated by white space. They are found by the character offsets of both tokenizers;
    ids of the two vocabularies are never compared. A word is skipped if one of its tokens reaches
    into another word, if the states end within it, or if it contains the sender's first token,
    whose state is an attention sink rather than a reading of the word.

    Args:
        texts: Texts as the sender read them.
        states: Sender states of the texts, in the same order, one per token.
        sender: Model that the states are of.
        receiver: Model whose embeddings are paired with the states.
        max_spans: Maximum number of words.
    Returns: Pairs in the order of the texts, float32. May be empty.
    Source: Xiao et al. 2024, arXiv:2309.17453, section 3.1 (attention sinks).
    """
    if len(texts) != len(states):
        raise ValueError(f"Texts and states differ in number: {len(texts)} and {len(states)}.")
    read, meant = [], []
    for text, rows, mask in zip(texts, states.states, states.mask):
        rows = rows[:, mask].float()  # (l, t, ds)
        words = [match.span() for match in _WORD.finditer(text)]
        sent = _tokens_by_word(words, _offsets(sender, text, special=True)[: rows.shape[1]])
        received = _tokens_by_word(words, _offsets(receiver, text, special=False))
        embedded = receiver.embed(torch.tensor(receiver.token_ids(text))).float()  # (u, dr)
        for word, (_, end) in enumerate(words):
            ours, theirs = sent.get(word), received.get(word)
            if not ours or not theirs or 0 in ours.tokens or min(ours.end, theirs.end) < end:
                continue
            read.append(rows[:, ours.tokens].mean(1))
            meant.append(embedded[theirs.tokens].mean(0))
        if len(read) >= max_spans:
            break
    if not read:
        n_layers, width = states.states.shape[1], states.states.shape[3]
        return AlignedSpans(torch.zeros(0, n_layers, width), torch.zeros(0, receiver.width))
    return AlignedSpans(torch.stack(read[:max_spans]), torch.stack(meant[:max_spans]))


@torch.no_grad()
def useful_embeddings(
    texts: Sequence[str],
    receiver: LanguageModel,
    seed: int = 0,
    max_rows: int = _MAX_EMBEDDINGS,
) -> Tensor:
    """Return embeddings of the most frequent tokens in texts, followed by random tokens.

    Args:
        texts: Texts; may be empty.
        receiver: Model whose embeddings are returned.
        seed: Random seed for the random tokens.
        max_rows: Maximum number of tokens.
    Returns: Embeddings of n distinct tokens, (n, dr), float32.
    """
    counts = Counter(i for text in texts for i in receiver.token_ids(text))
    special = set(receiver.tokenizer.all_special_ids)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(receiver.tokenizer), generator=generator).tolist()
    ordered = dict.fromkeys([*(i for i, _ in counts.most_common()), *drawn])  # each id once
    ids = [i for i in ordered if i not in special][:max_rows]
    return receiver.embed(torch.tensor(ids)).float()


class _WordTokens:
    """Token indices of one word, and the character offset at which its last token ends."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.end = 0


def _offsets(lm: LanguageModel, text: str, *, special: bool) -> list[tuple[int, int]]:
    """Return the character offsets of each token in `text`; (0, 0) for added special tokens."""
    encoded = lm.tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
    return [(int(start), int(end)) for start, end in encoded["offset_mapping"]]


def _tokens_by_word(
    words: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]]
) -> dict[int, _WordTokens]:
    """Group tokens by word, leaving out words that share a token with another word."""
    found: dict[int, _WordTokens] = {}
    shared: set[int] = set()
    first = 0
    for token, (start, end) in enumerate(offsets):
        while first < len(words) and words[first][1] <= start:
            first += 1
        touched = []
        for word in range(first, len(words)):
            if words[word][0] >= end:
                break
            touched.append(word)
        if len(touched) > 1:
            shared.update(touched)
        for word in touched:
            entry = found.setdefault(word, _WordTokens())
            entry.tokens.append(token)
            entry.end = max(entry.end, end)
    return {word: entry for word, entry in found.items() if word not in shared}
