"""Variational information bottleneck on the soft tokens."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from latentwire.losses import gaussian_kl
from latentwire.objectives.base import OBJECTIVES, Batch, Objective, Space


@OBJECTIVES.add("vib")
class InformationBottleneckObjective(Objective):
    """Upper bound on the mutual information of message and text.

    In training, the receiver reads the soft tokens plus Gaussian noise of a learned scale. The
    prior is a normal distribution with a learned mean for each soft token, because a fixed mean of
    0 has no effect on bridges that normalize their soft tokens. After training no noise is added.

    Args:
        noise: Initial standard deviation of the noise, in units of the embedding scale, > 0.
    """

    kind = "vib"
    about = "variational information bottleneck, nats per feature"
    source = "Alemi et al. 2017, arXiv:1612.00410"
    needs_embeddings = True

    def __init__(self, space: Space, *, noise: float = 0.1) -> None:
        super().__init__(space)
        shape = (space.soft_tokens, space.width)
        self.log_std = nn.Parameter(torch.full(shape, math.log(noise)))
        self.prior_mean = nn.Parameter(torch.zeros(shape))
        self.prior_log_std = nn.Parameter(torch.zeros(shape))

    def channel(self, soft: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        if not self.training:
            return soft
        return soft + self.space.rms * self.log_std.exp() * torch.randn_like(soft)

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        mean = batch.soft.float() / self.space.rms
        return gaussian_kl(mean, self.log_std, self.prior_mean, self.prior_log_std).mean()
