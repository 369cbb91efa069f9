"""Facts about a pair that a bridge is given before it learns."""

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
    """Scales of the pair, and where the soft tokens begin.

    Args:
        bridge: Says how many soft tokens there are and which optional facts it wants.
        states: Sender states of some training texts.
        sender: The model that read them.
        receiver: The model that will answer.
        words: Texts whose receiver embeddings the soft tokens start from, in turn; real
            embeddings drawn at random where there are none.
        seed: Of that draw.
        texts: What the sender read to have these states, in their order.
    Source: Lester et al. 2021, Prompt Tuning, arXiv:2104.08691, section 3.2 (class-label
        initialisation).
    """
    real = states.states.transpose(1, 2)[states.mask].float()  # (n, l, ds)
    anchors = _starts(receiver, words, bridge.soft_tokens, seed)
    facts = optional_facts(bridge.wants, texts, states, sender, receiver, seed, anchors=anchors)
    return PairFacts(
        state_mean=real.mean(0),
        state_std=real.std(0).clamp(min=1e-6),
        embedding_rms=receiver.embedding_rms,
        anchors=anchors,
        **facts,
    )


def _starts(lm: LanguageModel, words: Sequence[str], k: int, seed: int) -> Float[Tensor, "k dr"]:
    """Embeddings that k soft tokens start from."""
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
    """The optional fields of `PairFacts` that a kind wants, as far as the texts give them.

    Args:
        wants: `Bridge.wants` of the kind.
        texts: What the sender read; no spans without them.
        states: Its states of these texts, in their order.
        sender: The model that read.
        receiver: The model that will answer.
        seed: Of the draw of embeddings.
        anchors: Embeddings that the soft tokens start from, (k, dr); no prefix without them.
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
