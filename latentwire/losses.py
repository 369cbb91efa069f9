"""The formulas of the objectives. Each takes tensors and returns a scalar, whoever made them."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

NO_TARGET = -100  # stands in targets where a row has no answer token


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
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=NO_TARGET, reduction="none"
    )
    return token_mean(losses.view(targets.shape), targets)


def token_mean(values: Float[Tensor, "b a"], targets: Int[Tensor, "b a"]) -> Float[Tensor, ""]:
    """Mean over the tokens of each answer, then over examples.

    Args:
        values: One value per answer position, 0 where `targets` is -100.
        targets: Right token ids; -100 where a row has no answer token.
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
        logits: The student's logits at the answer positions.
        teacher: The teacher's at the same positions; no gradient flows into them.
        targets: -100 where a row has no answer token.
        temperature: Softens both distributions, > 0, no unit; the result is multiplied by its
            square, so that gradients keep their size.
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
    """KL divergence from the teacher's distribution over an item's choices to the student's.

    Two models whose vocabularies differ have no next-token distribution in common; whole choices
    are what both can be asked about.

    Args:
        scores: The student's log-likelihood of each choice; only differences within a row count.
        teacher: The teacher's, -inf where an item has fewer choices; no gradient flows into them.
        temperature: Softens both distributions, > 0, no unit; the result is multiplied by its
            square, so that gradients keep their size.
    Returns: Nats per item.
    Source: Hinton et al. 2015, arXiv:1503.02531, section 2, over choices in place of tokens.
    """
    wanted = (teacher.detach().float() / temperature).log_softmax(-1)
    found = (scores.float() / temperature).log_softmax(-1)
    missing = wanted.isneginf()
    differences = wanted.masked_fill(missing, 0.0) - found.masked_fill(missing, 0.0)
    return temperature**2 * (wanted.exp() * differences).sum(-1).mean()


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


def infonce_loss(scores: Float[Tensor, "b b"]) -> Float[Tensor, ""]:
    """How hard it is to find the partner of each item among the batch, in both directions.

    log(b) minus this loss is a lower bound of the mutual information, never above log(b).

    Args:
        scores: Row i, column j: how well message i fits text j; partners on the diagonal.
    Returns: Nats.
    Source: van den Oord et al. 2018, arXiv:1807.03748, equation 4 and appendix A.1.
    """
    partner = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, partner) + F.cross_entropy(scores.T, partner)) / 2


def donsker_varadhan(
    joint: Float[Tensor, " n"], marginal: Float[Tensor, " m"]
) -> Float[Tensor, ""]:
    """Lower bound of the mutual information from a critic's values: E[T] - log E[exp T].

    Args:
        joint: The critic on pairs that belong together.
        marginal: The critic on pairs that do not.
    Returns: Nats.
    Source: Belghazi et al. 2018, MINE, arXiv:1801.04062, equation 5.
    """
    return joint.mean() - log_mean_exp(marginal)


def log_mean_exp(values: Float[Tensor, " m"]) -> Float[Tensor, ""]:
    """log of the mean of exp, without overflow."""
    return values.logsumexp(0) - math.log(len(values))


def gaussian_kl(mean: Tensor, log_std: Tensor, prior_mean: Tensor, prior_log_std: Tensor) -> Tensor:
    """KL divergence between two normal distributions, for each feature by itself, in nats.

    Args:
        mean: Of the first distribution.
        log_std: Natural logarithm of its standard deviation.
        prior_mean: Of the second one.
        prior_log_std: The same for the second one.
    Source: Kingma & Welling 2014, arXiv:1312.6114, appendix B, with a general second normal.
    """
    squares = (2 * (log_std - prior_log_std)).exp() + (
        (mean - prior_mean) * (-prior_log_std).exp()
    ).pow(2)
    return (squares - 1) / 2 + prior_log_std - log_std


def norm_loss(soft: Float[Tensor, "n dr"], real: Float[Tensor, "m dr"]) -> Float[Tensor, ""]:
    """How far the sizes of soft tokens are from those of real embeddings; 0: equal, no unit.

    Two parts: the root mean square of each soft token against the mean one of real embeddings,
    and that of each feature over all soft tokens against the same over real embeddings. A bridge
    that already gives every soft token the right size is moved by the second part alone.
    """
    sizes, wanted = soft.pow(2).mean(1).sqrt(), real.pow(2).mean(1).sqrt().mean()
    features, profile = soft.pow(2).mean(0).sqrt(), real.pow(2).mean(0).sqrt()
    whole = (sizes / wanted - 1).pow(2).mean()
    return whole + (features - profile).pow(2).sum() / profile.pow(2).sum()


def moments_loss(soft: Float[Tensor, "n dr"], real: Float[Tensor, "m dr"]) -> Float[Tensor, ""]:
    """How far mean and covariance of soft tokens are from those of real embeddings.

    Each part is a squared distance relative to the real one's size: 0 where they are equal, no
    unit. Covariances are compared through the products of rows, which are smaller matrices than
    covariances where there are fewer rows than features.

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
    """`x` itself; gradients through it change their sign and are multiplied by `strength`.

    Source: Ganin et al. 2016, arXiv:1505.07818, section 4.2.
    """
    return _ReverseGradient.apply(x, strength)  # type: ignore[no-any-return, no-untyped-call]
