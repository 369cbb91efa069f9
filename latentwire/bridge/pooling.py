"""Pieces that several bridges and the linear probe share. They see tensors only."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_mean(x: Float[Tensor, "b l t d"], mask: Bool[Tensor, "b t"]) -> Float[Tensor, "b l d"]:
    """Mean over real tokens; True in `mask` keeps a token."""
    keep = mask[:, None, :, None].to(x.dtype)
    return (x * keep).sum(2) / keep.sum(2).clamp(min=1)


def segment_mean(
    x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t"], n_segments: int
) -> Float[Tensor, "b k d"]:
    """Means over k consecutive segments of the real tokens, of nearly equal length.

    Segment j of n tokens is floor(j n / k) .. ceil((j + 1) n / k): none is empty, and texts
    shorter than k tokens repeat some.

    Args:
        x: Zero, or at least finite, where `mask` is False.
        mask: True at real tokens, at least one in each row.
        n_segments: k.
    """
    rank = mask.cumsum(1) - 1  # a token's number among the real ones of its row
    n = mask.sum(1, keepdim=True)
    segment = torch.arange(n_segments, device=mask.device)
    first, behind = segment * n // n_segments, -(-(segment + 1) * n // n_segments)
    member = mask[:, None] & (rank[:, None] >= first[..., None])
    weights = (member & (rank[:, None] < behind[..., None])).to(x.dtype)
    return weights / weights.sum(-1, keepdim=True) @ x
