"""Loss functions compared with their definitions and known values."""

from __future__ import annotations

import math

import pytest
import torch

from latentwire.losses import (
    choice_distillation_loss,
    distillation_loss,
    diversity_loss,
    donsker_varadhan,
    gaussian_kl,
    infonce_loss,
    moments_loss,
    norm_loss,
    reverse_gradient,
    token_mean,
)


def test_token_mean_gives_examples_equal_weight() -> None:
    targets = torch.tensor([[1, 2, 3], [-100, -100, 4]])
    values = torch.tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 5.0]])
    assert token_mean(values, targets).item() == pytest.approx((3 + 5) / 2)


def test_diversity_loss_is_one_for_equal_and_zero_for_orthogonal_tokens() -> None:
    assert diversity_loss(torch.ones(2, 3, 4)).item() == pytest.approx(1)
    assert diversity_loss(torch.eye(4)[None] * 3).item() == pytest.approx(0)
    assert diversity_loss(torch.ones(2, 1, 4)).item() == 0


def test_diversity_loss_moves_tokens_apart() -> None:
    soft = torch.randn(1, 3, 4, requires_grad=True)
    before = diversity_loss(soft)
    (gradient,) = torch.autograd.grad(before, soft)
    assert diversity_loss(soft - 0.1 * gradient) < before


def test_choice_distillation_loss_equals_its_definition() -> None:
    # The second item has two choices only; there the student agrees, up to a constant.
    low = -math.inf
    teacher = torch.tensor([[math.log(3.0), 0.0, 0.0], [1.0, 0.0, low]])
    student = torch.tensor([[0.0, 0.0, 0.0], [6.0, 5.0, low]], requires_grad=True)
    loss = choice_distillation_loss(student, teacher)
    expected = 0.6 * math.log(1.8) + 0.4 * math.log(0.6)
    assert loss.item() == pytest.approx(expected / 2, abs=1e-6)
    (gradient,) = torch.autograd.grad(loss, student)
    by_hand = torch.tensor([[1 / 3 - 0.6, 1 / 3 - 0.2, 1 / 3 - 0.2], [0.0, 0.0, 0.0]]) / 2
    assert torch.allclose(gradient, by_hand, atol=1e-6)
    # At temperature 2 scores are halved; the factor 4 keeps the gradients' size.
    halved = choice_distillation_loss(student / 2, teacher / 2).item()
    assert choice_distillation_loss(student, teacher, 2.0).item() == pytest.approx(
        4 * halved, abs=1e-6
    )


def test_distillation_loss_equals_its_definition() -> None:
    # Two tokens; the teacher says 3/4, 1/4, the student 1/2, 1/2, at the one real position.
    teacher = torch.tensor([[[9.0, -9.0], [math.log(3.0), 0.0]]])
    student = torch.zeros(1, 2, 2, requires_grad=True)
    targets = torch.tensor([[-100, 1]])
    loss = distillation_loss(student, teacher, targets)
    assert loss.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert distillation_loss(teacher, teacher, targets).item() == pytest.approx(0, abs=1e-7)
    # At temperature 2 the teacher's odds are the square root of 3, and the result is times 4.
    p = 3**0.5 / (1 + 3**0.5)
    soft = 4 * (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)))
    assert distillation_loss(student, teacher, targets, 2.0).item() == pytest.approx(soft)
    (gradient,) = torch.autograd.grad(loss, student)
    assert gradient[0, 0].abs().sum() == 0 and gradient[0, 1, 0] < 0 < gradient[0, 1, 1]


def _log_ratio(x: torch.Tensor, y: torch.Tensor, rho: float) -> torch.Tensor:
    """Return log p(x, y) / p(x) p(y) of each pair of rows, with features of correlation rho."""
    x, y = x[:, None], y[None]
    left = rho * (2 * x * y - rho * (x**2 + y**2)) / (2 * (1 - rho**2))
    return (left - 0.5 * math.log(1 - rho**2)).sum(-1)


def test_mutual_information_bounds_are_tight_for_correlated_gaussians() -> None:
    generator = torch.Generator().manual_seed(0)
    n, d, rho = 1500, 2, 0.8
    x = torch.randn(n, d, generator=generator)
    y = rho * x + (1 - rho**2) ** 0.5 * torch.randn(n, d, generator=generator)
    truth = -d / 2 * math.log(1 - rho**2)  # 1.02 nats
    ratios = _log_ratio(x, y, rho)
    same = torch.eye(n, dtype=torch.bool)
    assert donsker_varadhan(ratios[same], ratios[~same]).item() == pytest.approx(truth, abs=0.1)
    assert math.log(n) - infonce_loss(ratios).item() == pytest.approx(truth, abs=0.1)
    # A critic that knows nothing finds nothing, and no critic finds more than log n.
    assert donsker_varadhan(torch.zeros(5), torch.zeros(9)).item() == pytest.approx(0)
    assert math.log(4) - infonce_loss(torch.eye(4) * 1e4).item() == pytest.approx(math.log(4))


def test_gaussian_kl_equals_the_closed_form() -> None:
    mean, std = torch.tensor(0.7), torch.tensor(0.5)
    zero = torch.tensor(0.0)
    by_hand = 0.5 * (0.7**2 + 0.5**2 - 1 - math.log(0.5**2))
    assert gaussian_kl(mean, std.log(), zero, zero).item() == pytest.approx(by_hand)
    p = torch.distributions.Normal(mean, std)
    q = torch.distributions.Normal(torch.tensor(-0.2), torch.tensor(1.7))
    expected = torch.distributions.kl_divergence(p, q)
    found = gaussian_kl(p.mean, p.stddev.log(), q.mean, q.stddev.log())
    assert found.item() == pytest.approx(expected.item())


def test_norm_loss_equals_its_definition() -> None:
    real = torch.tensor([[3.0, 0.0], [0.0, 3.0]])  # every token: 3 / sqrt 2
    assert norm_loss(real, real).item() == 0
    # Twice as large: (2 - 1)^2 for tokens, and the same for features.
    assert norm_loss(2 * real, real).item() == pytest.approx(2)
    # Of the right size, but all in one feature: (3 - 3/sqrt 2)^2 + (3/sqrt 2)^2, over 9.
    flat = torch.tensor([[3.0, 0.0], [3.0, 0.0]])
    assert norm_loss(flat, real).item() == pytest.approx((1 - 0.5**0.5) ** 2 + 0.5)


def test_moments_loss_equals_its_definition() -> None:
    torch.manual_seed(0)
    real, soft = torch.randn(40, 6) * 2 + 1, torch.randn(12, 6)
    means = (soft.mean(0) - real.mean(0)).pow(2).sum() / real.pow(2).sum(1).mean()
    cov = [x.T.cov(correction=0) for x in (soft, real)]
    expected = means + (cov[0] - cov[1]).pow(2).sum() / cov[1].pow(2).sum()
    assert moments_loss(soft, real).item() == pytest.approx(expected.item(), rel=1e-4)
    assert moments_loss(real, real).item() == pytest.approx(0, abs=1e-5)


def test_reverse_gradient_changes_the_sign() -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    assert torch.equal(reverse_gradient(x, 0.5), x)
    (gradient,) = torch.autograd.grad(
        (reverse_gradient(x, 0.5) * torch.tensor([3.0, 5.0])).sum(), x
    )
    assert gradient.tolist() == [-1.5, -2.5]
