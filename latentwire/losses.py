"""Objectives. Each takes tensors and returns a scalar, whatever bridge made them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def answer_loss(logits: Float[Tensor, "b a v"], targets: Int[Tensor, "b a"]) -> Float[Tensor, ""]:
    """Negative log-likelihood of the right answer: mean over its tokens, then over examples.

    Every example weighs the same however long its answer is, so that splitting a batch does not
    change the gradient.

    Args:
        logits: The receiver's logits at the answer positions.
        targets: Right token ids; -100 where a row has no answer token. Each row has one at least.
    Returns: Nats per token.
    """
    losses = F.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-100, reduction="none"
    )
    real = targets != -100
    return (losses.view(targets.shape).sum(1) / real.sum(1)).mean()


def diversity_loss(soft: Float[Tensor, "b k dr"]) -> Float[Tensor, ""]:
    """How alike the soft tokens of one message are: mean squared cosine between pairs, 0..1.

    Source: Lin et al. 2017, Structured Self-Attentive Embedding, arXiv:1703.03130, section 2.2.
    """
    k = soft.shape[1]
    if k < 2:
        return soft.new_zeros(())
    unit = F.normalize(soft.float(), dim=-1)
    squares = (unit @ unit.transpose(1, 2)).pow(2)
    apart = ~torch.eye(k, dtype=torch.bool, device=soft.device)
    return squares[:, apart].mean()
