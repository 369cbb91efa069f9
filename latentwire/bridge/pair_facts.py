"""Facts about a pair of models, used to initialize bridges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class AlignedSpans(NamedTuple):
    """Representations of the same n pieces of text in both models.

    Args:
        states: Mean sender state over the tokens of each span, (n, l, ds).
        embeddings: Mean receiver embedding over the tokens of each span, (n, dr).
    """

    states: Float[Tensor, "n l ds"]
    embeddings: Float[Tensor, "n dr"]


class InitialPrefix(NamedTuple):
    """Initial values of a deep prefix: keys and values of all receiver layers, packed.

    Args:
        values: Keys and values that the receiver computes for the anchors, (k, w).
        scale: Root mean square of the head that each value belongs to, (w,), > 0.
    """

    values: Float[Tensor, "k w"]
    scale: Float[Tensor, " w"]


@dataclass(frozen=True)
class PairFacts:
    """Facts about a pair of models, used to initialize a bridge.

    The optional facts take time to compute. A bridge lists those it needs in `Bridge.wants`.

    Args:
        state_mean: Mean of the sender states over tokens, (l, ds).
        state_std: Standard deviation of the sender states over tokens, (l, ds), > 0.
        embedding_rms: Root mean square of the receiver's embeddings, > 0.
        anchors: Receiver embeddings to initialize the k soft tokens, (k, dr).
        embeddings: Receiver embeddings of part of its vocabulary, most useful first, (n, dr).
        spans: States and embeddings of the same pieces of text.
        prefix: Initial keys and values of a deep prefix.
    """

    state_mean: Float[Tensor, "l ds"]
    state_std: Float[Tensor, "l ds"]
    embedding_rms: float
    anchors: Float[Tensor, "k dr"]
    embeddings: Float[Tensor, "n dr"] | None = None
    spans: AlignedSpans | None = None
    prefix: InitialPrefix | None = None
