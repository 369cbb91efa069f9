"""Objectives. Each takes tensors and returns a scalar, whatever bridge made them."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def answer_loss(
    logits: Float[Tensor, "b a v"], targets: Int[Tensor, "b a"]
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of the right answer's tokens, in nats per token.

    Args:
        logits: The receiver's logits at the answer positions.
        targets: Right token ids; -100 where a row has no answer token.
    """
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-100)
