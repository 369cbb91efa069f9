"""Shared spans: the same words, found by characters, never by ids."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from latentwire.models import LanguageModel, Sender
from latentwire.models.fake import fake_model
from latentwire.wire.alignment import _tokens_by_word, shared_spans, useful_embeddings
from latentwire.wire.initialization import pair_facts

TEXTS = ["The winner  is at home,\nnaïve 東京", "one and then"]


@pytest.fixture(scope="module")
def llama() -> LanguageModel:
    """Byte tokens, no BOS."""
    return fake_model("fake-llama")


@pytest.fixture(scope="module")
def gemma() -> LanguageModel:
    """Merged tokens, BOS first."""
    return fake_model("fake-gemma")


def _tokens_of(lm: LanguageModel, text: str, word: str) -> list[int]:
    """Numbers of the tokens that hold a character of the word's first occurrence."""
    start = text.index(word)
    encoded = lm.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets = enumerate(encoded["offset_mapping"])
    return [i for i, (a, b) in offsets if a < start + len(word) and b > start]


def test_pairs_are_the_same_words(llama: LanguageModel, gemma: LanguageModel) -> None:
    states = Sender(llama).encode(TEXTS, [0, 2])
    found = shared_spans(TEXTS, states, llama, gemma)
    # The first word of each text holds the first token: no BOS stands before it.
    words = [(0, word) for word in ("winner", "is", "at", "home,", "naïve", "東京")]
    words += [(1, "and"), (1, "then")]
    assert found.states.shape == (8, 2, 32) and found.embeddings.shape == (8, 48)
    for row, (text, word) in enumerate(words):
        read = states.states[text][:, _tokens_of(llama, TEXTS[text], word)]
        assert torch.allclose(found.states[row], read.mean(1), atol=1e-6)
        ids = torch.tensor(gemma.token_ids(TEXTS[text]))
        meant = gemma.embed(ids[_tokens_of(gemma, TEXTS[text], word)])
        assert torch.allclose(found.embeddings[row], meant.mean(0), atol=1e-6)


def test_a_bos_token_takes_the_first_place(llama: LanguageModel, gemma: LanguageModel) -> None:
    states = Sender(gemma).encode(TEXTS, [1])
    assert len(shared_spans(TEXTS, states, gemma, llama).states) == 10
    assert len(shared_spans(TEXTS, states, gemma, llama, max_spans=3).states) == 3


def test_words_behind_the_end_of_the_states_are_left_out(
    llama: LanguageModel, gemma: LanguageModel
) -> None:
    text = "one two three"
    states = Sender(llama).encode([text[:6]], [1])  # ends within `two`
    assert len(shared_spans([text], states, llama, gemma).states) == 0
    whole = Sender(llama).encode([text[:7]], [1])
    assert len(shared_spans([text], whole, llama, gemma).states) == 1
    with pytest.raises(ValueError, match="differ in number: 2 and 1"):
        shared_spans([text, text], states, llama, gemma)


def test_words_that_share_a_token_are_left_out() -> None:
    words = [(0, 2), (3, 5), (6, 8)]
    found = _tokens_by_word(words, [(0, 0), (0, 1), (1, 2), (2, 4), (4, 7), (7, 8)])
    assert {word: entry.tokens for word, entry in found.items()} == {0: [1, 2]}


def test_frequent_tokens_come_first(gemma: LanguageModel) -> None:
    rows = useful_embeddings(["zzz zz", "y"], gemma, seed=1)
    (z,) = gemma.token_ids("z")
    assert torch.equal(rows[0], gemma.embed(torch.tensor(z)))
    n_special = len(gemma.tokenizer.all_special_ids)
    assert len(rows) == len(gemma.tokenizer) - n_special == len(rows.unique(dim=0))
    assert torch.equal(useful_embeddings([], gemma, 1), useful_embeddings([], gemma, 1))
    assert not torch.equal(useful_embeddings([], gemma, 1), useful_embeddings([], gemma, 2))
    assert len(useful_embeddings([], gemma, max_rows=5)) == 5


def test_only_wanted_facts_are_gathered(llama: LanguageModel, gemma: LanguageModel) -> None:
    states = Sender(llama).encode(TEXTS, [1])

    def found(wants: set[str], texts: list[str]) -> set[str]:
        bridge: Any = SimpleNamespace(wants=wants, soft_tokens=2)
        facts = pair_facts(bridge, states, llama, gemma, ["a"], texts=texts)
        optional = ("embeddings", "spans", "prefix")
        return {name for name in optional if getattr(facts, name) is not None}

    assert found(set(), TEXTS) == set()
    assert found({"spans"}, TEXTS) == {"spans"} and found({"spans"}, []) == set()
    assert found({"embeddings"}, []) == {"embeddings"} and found({"prefix"}, []) == {"prefix"}
