"""Objectives by hand."""

from __future__ import annotations

import pytest
import torch

from latentwire.losses import answer_loss, diversity_loss


def test_answer_loss_weighs_examples_alike() -> None:
    logits = torch.randn(2, 3, 5)
    targets = torch.tensor([[1, 2, 3], [-100, -100, 4]])
    lp = logits.log_softmax(-1)
    long = -(lp[0, 0, 1] + lp[0, 1, 2] + lp[0, 2, 3]) / 3
    assert answer_loss(logits, targets).item() == pytest.approx(((long - lp[1, 2, 4]) / 2).item())


def test_diversity_loss_is_one_for_equal_and_zero_for_orthogonal_tokens() -> None:
    assert diversity_loss(torch.ones(2, 3, 4)).item() == pytest.approx(1)
    assert diversity_loss(torch.eye(4)[None] * 3).item() == pytest.approx(0)
    assert diversity_loss(torch.ones(2, 1, 4)).item() == 0


def test_diversity_loss_moves_tokens_apart() -> None:
    soft = torch.randn(1, 3, 4, requires_grad=True)
    before = diversity_loss(soft)
    (gradient,) = torch.autograd.grad(before, soft)
    assert diversity_loss(soft - 0.1 * gradient) < before
