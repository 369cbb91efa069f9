"""Gather facts about a pair of models, from which a bridge is initialized before training."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.bridge import Bridge, InitialPrefix, PairFacts
from latentwire.models import LanguageModel, SenderStates
from latentwire.models.deep_prefix import prefix_scale, read_prefix
from latentwire.wire.alignment import shared_spans, useful_embeddings


@torch.no_grad()
def pair_facts(
    bridge: Bridge,
    states: SenderStates,
    sender: LanguageModel,
    receiver: LanguageModel,
    words: Sequence[str],
    seed: int = 0,
    *,
    texts: Sequence[str] = (),
) -> PairFacts:
    """Measure the scales of a pair and choose where the soft tokens start.

    Args:
        bridge: Bridge to initialize: its number of soft tokens and the optional facts it needs.
        states: Sender states of some training texts.
        sender: Sending model.
        receiver: Receiving model.
        words: Texts whose receiver embeddings the soft tokens start from, in turn. If empty, they
            start from embeddings drawn at random.
        seed: Random seed for that draw.
        texts: Texts that the states belong to, in the same order.
    Source: Lester et al. 2021, Prompt Tuning, arXiv:2104.08691, section 3.2 (class-label
        initialisation).
    """
    real = states.states.transpose(1, 2)[states.mask].float()  # (n, l, ds)
    anchors = _anchors(receiver, words, bridge.soft_tokens, seed)
    facts = optional_facts(bridge.wants, texts, states, sender, receiver, seed, anchors=anchors)
    return PairFacts(
        state_mean=real.mean(0),
        state_std=real.std(0).clamp(min=1e-6),
        embedding_rms=receiver.embedding_rms,
        anchors=anchors,
        **facts,
    )


def _anchors(lm: LanguageModel, words: Sequence[str], k: int, seed: int) -> Float[Tensor, "k dr"]:
    """Return the embeddings that k soft tokens start from."""
    if words:
        rows = [lm.embed(torch.tensor(lm.token_ids(" " + word))).mean(0) for word in words]
        starts = torch.stack(rows).float()
    else:
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(len(lm.tokenizer), (k,), generator=generator)
        starts = lm.embed(ids).float()
    return starts[torch.arange(k) % len(starts)]


def optional_facts(
    wants: Collection[str],
    texts: Sequence[str],
    states: SenderStates,
    sender: LanguageModel,
    receiver: LanguageModel,
    seed: int = 0,
    *,
    anchors: Tensor | None = None,
) -> dict[str, Any]:
    """Gather the optional fields of `PairFacts` that a bridge needs, as far as texts allow.

    Args:
        wants: `Bridge.wants` of the bridge.
        texts: Texts that the sender read. Spans need them.
        states: Sender states of these texts, in the same order.
        sender: Sending model.
        receiver: Receiving model.
        seed: Random seed for the draw of embeddings.
        anchors: Embeddings that the soft tokens start from, (k, dr). A deep prefix needs them.
    """
    facts: dict[str, Any] = {}
    if "embeddings" in wants:
        facts["embeddings"] = useful_embeddings(texts, receiver, seed)
    if "spans" in wants and texts:
        facts["spans"] = shared_spans(texts, states, sender, receiver)
    if "prefix" in wants and anchors is not None:
        start = read_prefix(receiver, anchors)
        facts["prefix"] = InitialPrefix(start, prefix_scale(receiver, start))
    return facts
