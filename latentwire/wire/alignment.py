"""What two models share on the same texts: words, and the embeddings worth knowing."""

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
    """Words of the texts as the sender's states and as the receiver's embeddings.

    A word is a stretch between white space. Both tokenizers say which characters a token stands
    for; ids of the two vocabularies are never compared. A word is left out where one of its
    tokens reaches into another word, where the states end within it, and where it holds the
    sender's first token: that state is a place to rest attention, not a reading of the word.

    Args:
        texts: Raw texts as the sender read them.
        states: The sender's states of them, in their order, one per token.
        sender: Whose tokenizer cut the texts for `states`.
        receiver: Whose embeddings are paired with the states.
        max_spans: Words after which no further text is looked at.
    Returns: Pairs in the order of the texts, float32; perhaps none.
    Source: for the first token, Xiao et al. 2024, arXiv:2309.17453, section 3.1 (attention sinks).
    """
    if len(texts) != len(states):
        raise ValueError(f"{len(texts)} texts were given for the states of {len(states)}.")
    read, meant = [], []
    for text, rows, mask in zip(texts, states.states, states.mask):
        rows = rows[:, mask].float()  # (l, t, ds)
        words = [match.span() for match in _WORD.finditer(text)]
        sent = _tokens_by_word(words, _offsets(sender, text, special=True)[: rows.shape[1]])
        received = _tokens_by_word(words, _offsets(receiver, text, special=False))
        embedded = receiver.embed(torch.tensor(receiver.token_ids(text))).float()  # (u, dr)
        for word, (_, end) in enumerate(words):
            mine, its = sent.get(word), received.get(word)
            if not mine or not its or 0 in mine.tokens or mine.end < end or its.end < end:
                continue
            read.append(rows[:, mine.tokens].mean(1))
            meant.append(embedded[its.tokens].mean(0))
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
    """Embedding outputs of the tokens of the texts, the most frequent first, then of random ones.

    Args:
        texts: May be empty.
        receiver: Whose embeddings they are.
        seed: Of the draw of the random ones.
        max_rows: Highest number of tokens.
    Returns: Embeddings (n, dr) of n different tokens, float32.
    """
    counts = Counter(i for text in texts for i in receiver.token_ids(text))
    special = set(receiver.tokenizer.all_special_ids)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(receiver.tokenizer), generator=generator).tolist()
    ordered = dict.fromkeys([*(i for i, _ in counts.most_common()), *drawn])  # each id once
    ids = [i for i in ordered if i not in special][:max_rows]
    return receiver.embed(torch.tensor(ids)).float()


class _Tokens:
    """Tokens that stand for one word, and the character behind the last of them."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.end = 0


def _offsets(lm: LanguageModel, text: str, *, special: bool) -> list[tuple[int, int]]:
    """For each token the characters of `text` it stands for; empty for added tokens."""
    encoded = lm.tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
    return [(int(start), int(end)) for start, end in encoded["offset_mapping"]]


def _tokens_by_word(
    words: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]]
) -> dict[int, _Tokens]:
    """Tokens of each word; words that share a token with another one are left out."""
    found: dict[int, _Tokens] = {}
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
            entry = found.setdefault(word, _Tokens())
            entry.tokens.append(token)
            entry.end = max(entry.end, end)
    return {word: entry for word, entry in found.items() if word not in shared}
