"""Measure facts about a pair of models, from which a bridge is initialized before training."""

from __future__ import annotations

from collections.abc import Sequence

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
        bridge: Bridge to initialize; states the optional facts it needs.
        states: Sender states of some training texts.
        sender: Sending model.
        receiver: Receiving model.
        words: Texts whose receiver embeddings initialize the soft tokens, in turn. If empty, random
            embeddings are used.
        seed: Random seed for these.
        texts: Texts of the states, in the same order; required for shared spans.
    Source: Lester et al. 2021, Prompt Tuning, arXiv:2104.08691, section 3.2 (class-label
        initialisation).
    """
    real = states.states.transpose(1, 2)[states.mask].float()  # (n, l, ds)
    anchors, wants = _anchors(receiver, words, bridge.soft_tokens, seed), bridge.wants
    embeddings = useful_embeddings(texts, receiver, seed) if "embeddings" in wants else None
    spans = shared_spans(texts, states, sender, receiver) if "spans" in wants and texts else None
    prefix = None
    if "prefix" in wants:
        start = read_prefix(receiver, anchors)
        prefix = InitialPrefix(start, prefix_scale(receiver, start))
    return PairFacts(
        state_mean=real.mean(0),
        state_std=real.std(0).clamp(min=1e-6),
        embedding_rms=receiver.embedding_rms,
        anchors=anchors,
        embeddings=embeddings,
        spans=spans,
        prefix=prefix,
    )


def _anchors(lm: LanguageModel, words: Sequence[str], k: int, seed: int) -> Float[Tensor, "k dr"]:
    """Return initial embeddings of k soft tokens."""
    if words:
        rows = [lm.embed(torch.tensor(lm.token_ids(" " + word))).mean(0) for word in words]
        starts = torch.stack(rows).float()
    else:
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(len(lm.tokenizer), (k,), generator=generator)
        starts = lm.embed(ids).float()
    return starts[torch.arange(k) % len(starts)]
