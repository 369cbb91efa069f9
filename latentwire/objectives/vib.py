"""Noise on the soft tokens, and a price for what stands out of it."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from latentwire.losses import gaussian_kl
from latentwire.objectives.base import OBJECTIVES, Batch, Objective, Space


@OBJECTIVES.add("vib")
class InformationBottleneck(Objective):
    """Upper bound of what the message tells about the text.

    In training the receiver reads the soft tokens plus noise of a learned size. The prior is a
    normal with a learned mean for every soft token: a fixed one at 0 would move no bridge that
    brings its soft tokens to one size. After training the soft tokens are read without noise.

    Args:
        noise: Standard deviation at the start, in units of the embedding scale, > 0.
    """

    kind = "vib"
    about = "variational information bottleneck, nats per feature"
    source = "Alemi et al. 2017, arXiv:1612.00410"
    in_embeddings = True

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
