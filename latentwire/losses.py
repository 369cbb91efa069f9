"""Loss functions. Each takes tensors and returns a scalar."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

NO_TARGET = -100  # padding of targets, where a row has no answer token


def token_mean(values: Float[Tensor, "b a"], targets: Int[Tensor, "b a"]) -> Float[Tensor, ""]:
    """Mean over the tokens of each answer, then over examples.

    All examples have the same weight, so that splitting a batch does not change the gradient.

    Args:
        values: Value at each answer position, 0 at padding.
        targets: Token ids of the right answer, padded with -100; at least one token per row.
    """
    return (values.sum(1) / (targets != NO_TARGET).sum(1)).mean()


def distillation_loss(
    logits: Float[Tensor, "b a v"],
    teacher: Float[Tensor, "b a v"],
    targets: Int[Tensor, "b a"],
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """KL divergence from the teacher's next-token distribution to the student's.

    Args:
        logits: Logits of the student at the answer positions.
        teacher: Logits of the teacher at the same positions; they get no gradient.
        targets: Token ids of the right answer, padded with -100.
        temperature: Softmax temperature of both distributions, > 0. The result is multiplied by
            its square, so that the size of gradients does not depend on it.
    Returns: Nats per token.
    Source: Hinton et al. 2015, arXiv:1503.02531, section 2.
    """
    wanted = (teacher.detach().float() / temperature).log_softmax(-1)
    found = (logits.float() / temperature).log_softmax(-1)
    divergence = (wanted.exp() * (wanted - found)).sum(-1)
    divergence = divergence.masked_fill(targets == NO_TARGET, 0.0)
    return temperature**2 * token_mean(divergence, targets)


def choice_distillation_loss(
    scores: Float[Tensor, "b c"], teacher: Float[Tensor, "b c"], temperature: float = 1.0
) -> Float[Tensor, ""]:
    """KL divergence from the teacher's distribution over the choices to the student's.

    For models with different vocabularies, whose next-token distributions cannot be compared.

    Args:
        scores: Log-likelihood of each choice by the student, up to a constant per row.
        teacher: Log-likelihood of each choice by the teacher, padded with -inf; without gradient.
        temperature: Softmax temperature of both distributions, > 0. The result is multiplied by
            its square, so that the size of gradients does not depend on it.
    Returns: Nats per example.
    Source: Hinton et al. 2015, arXiv:1503.02531, section 2, applied to choices instead of tokens.
    """
    wanted = (teacher.detach().float() / temperature).log_softmax(-1)
    found = (scores.float() / temperature).log_softmax(-1)
    missing = wanted.isneginf()
    differences = wanted.masked_fill(missing, 0.0) - found.masked_fill(missing, 0.0)
    return temperature**2 * (wanted.exp() * differences).sum(-1).mean()


def diversity_loss(soft: Float[Tensor, "b k dr"]) -> Float[Tensor, ""]:
    """Mean squared cosine similarity between the soft tokens of a message, 0..1.

    Source: Lin et al. 2017, Structured Self-Attentive Embedding, arXiv:1703.03130, section 2.2.
    """
    k = soft.shape[1]
    if k < 2:
        return soft.new_zeros(())
    unit = F.normalize(soft.float(), dim=-1)
    squares = (unit @ unit.transpose(1, 2)).pow(2)
    apart = ~torch.eye(k, dtype=torch.bool, device=soft.device)
    return squares[:, apart].mean()


def infonce_loss(scores: Float[Tensor, "b b"]) -> Float[Tensor, ""]:
    """Cross-entropy of matching messages to texts within a batch, mean of both directions.

    log(b) minus this loss is a lower bound on the mutual information, at most log(b).

    Args:
        scores: Score of message i with text j in row i, column j; matching pairs are on the
            diagonal.
    Returns: Nats.
    Source: van den Oord et al. 2018, arXiv:1807.03748, equation 4 and appendix A.1.
    """
    partner = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, partner) + F.cross_entropy(scores.T, partner)) / 2


def donsker_varadhan(
    joint: Float[Tensor, " n"], marginal: Float[Tensor, " m"]
) -> Float[Tensor, ""]:
    """Donsker-Varadhan lower bound on the mutual information: E[T] - log E[exp T].

    Args:
        joint: Values of the critic on matching pairs.
        marginal: Values of the critic on other pairs.
    Returns: Nats.
    Source: Belghazi et al. 2018, MINE, arXiv:1801.04062, equation 5.
    """
    return joint.mean() - log_mean_exp(marginal)


def log_mean_exp(values: Float[Tensor, " m"]) -> Float[Tensor, ""]:
    """Logarithm of the mean of exp(values), computed without overflow."""
    return values.logsumexp(0) - math.log(len(values))


def gaussian_kl(mean: Tensor, log_std: Tensor, prior_mean: Tensor, prior_log_std: Tensor) -> Tensor:
    """KL divergence from a normal distribution to a normal prior, in nats per feature.

    Source: Kingma & Welling 2014, arXiv:1312.6114, appendix B, generalized to any normal prior.
    """
    squares = (2 * (log_std - prior_log_std)).exp() + (
        (mean - prior_mean) * (-prior_log_std).exp()
    ).pow(2)
    return (squares - 1) / 2 + prior_log_std - log_std


def norm_loss(soft: Float[Tensor, "n dr"], real: Float[Tensor, "m dr"]) -> Float[Tensor, ""]:
    """Distance of the norms of soft tokens from those of real embeddings; dimensionless.

    The sum of two parts: the root mean square of each soft token compared with the mean over real
    embeddings, and the root mean square of each feature compared with that of real embeddings. For
    bridges that normalize their soft tokens, only the second part has a gradient.
    """
    sizes, wanted = soft.pow(2).mean(1).sqrt(), real.pow(2).mean(1).sqrt().mean()
    features, profile = soft.pow(2).mean(0).sqrt(), real.pow(2).mean(0).sqrt()
    whole = (sizes / wanted - 1).pow(2).mean()
    return whole + (features - profile).pow(2).sum() / profile.pow(2).sum()


def moments_loss(soft: Float[Tensor, "n dr"], real: Float[Tensor, "m dr"]) -> Float[Tensor, ""]:
    """Distance of mean and covariance of soft tokens from those of real embeddings.

    Each part is a squared distance relative to the real value, dimensionless. Covariances are
    compared through the Gram matrices of the rows, which are smaller if there are fewer rows than
    features.

    Source: Sun & Saenko 2016, Deep CORAL, arXiv:1607.01719, equation 1 (covariance).
    """
    means = (soft.mean(0) - real.mean(0)).pow(2).sum() / real.pow(2).sum(1).mean()
    a = (soft - soft.mean(0)) / math.sqrt(len(soft))
    b = (real - real.mean(0)) / math.sqrt(len(real))
    # |A'A - B'B|^2 = |AA'|^2 + |BB'|^2 - 2 |AB'|^2 in the Frobenius norm.
    size = (b @ b.T).pow(2).sum().clamp(min=torch.finfo(b.dtype).tiny)
    covariances = (a @ a.T).pow(2).sum() + size - 2 * (a @ b.T).pow(2).sum()
    return means + covariances / size


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return -ctx.strength * gradients[0], None


def reverse_gradient(x: Tensor, strength: float = 1.0) -> Tensor:
    """Return `x`; its gradient is multiplied by -`strength`.

    Source: Ganin et al. 2016, arXiv:1505.07818, section 4.2.
    """
    return _ReverseGradient.apply(x, strength)  # type: ignore[no-any-return, no-untyped-call]
