"""Pieces that several bridges and the linear probe share. They see tensors only."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor


def masked_mean(x: Float[Tensor, "b l t d"], mask: Bool[Tensor, "b t"]) -> Float[Tensor, "b l d"]:
    """Mean over real tokens; True in `mask` keeps a token."""
    keep = mask[:, None, :, None].to(x.dtype)
    return (x * keep).sum(2) / keep.sum(2).clamp(min=1)
