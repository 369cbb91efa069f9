"""Pooling of hidden states over tokens."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_mean(x: Float[Tensor, "b l t d"], mask: Bool[Tensor, "b t"]) -> Float[Tensor, "b l d"]:
    """Mean over real tokens, where `mask` is True."""
    keep = mask[:, None, :, None].to(x.dtype)
    return (x * keep).sum(2) / keep.sum(2).clamp(min=1)


def segment_mean(
    x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t"], n_segments: int
) -> Float[Tensor, "b k d"]:
    """Means over k consecutive segments of the real tokens, of nearly equal length.

    Segment j of n tokens is floor(j n / k) .. ceil((j + 1) n / k). No segment is empty; texts with
    fewer than k tokens repeat some.

    Args:
        x: Token features, finite at padding.
        mask: True at real tokens, at least one per row.
        n_segments: k, number of segments.
    """
    rank = mask.cumsum(1) - 1  # index among the real tokens of its row
    n = mask.sum(1, keepdim=True)
    segment = torch.arange(n_segments, device=mask.device)
    first, stop = segment * n // n_segments, -(-(segment + 1) * n // n_segments)
    member = mask[:, None] & (rank[:, None] >= first[..., None])
    weights = (member & (rank[:, None] < stop[..., None])).to(x.dtype)
    return weights / weights.sum(-1, keepdim=True) @ x
