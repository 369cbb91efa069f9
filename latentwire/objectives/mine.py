"""Neural estimate of the mutual information between message and text."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from latentwire.core.errors import ConfigError
from latentwire.losses import donsker_varadhan, log_mean_exp
from latentwire.objectives.base import OBJECTIVES, Batch, Objective, Space


@OBJECTIVES.add("mine")
class MineObjective(Objective):
    """Lower bound on the mutual information of message and text, maximized by critic and bridge.

    All other pairs of the batch are the negatives. A moving average corrects the gradient of the
    logarithm, which is biased on a single batch.

    Args:
        features: Width of the critic.
        rate: Weight of a new batch in the moving average, 0..1.
    """

    kind = "mine"
    about = "maximizes mutual information with the text"
    source = "Belghazi et al. 2018, arXiv:1801.04062"
    needs_embeddings = True
    needs_pairs = True

    def __init__(self, space: Space, *, features: int = 128, rate: float = 0.01) -> None:
        super().__init__(space)
        if not 0 < rate < 1:
            raise ConfigError(f"mine: rate is {rate}; it must be > 0 and < 1.")
        self.rate = rate
        self.of_message = nn.Linear(space.width, features)
        self.of_text = nn.Linear(space.width, features)
        self.critic = nn.Sequential(
            nn.ReLU(), nn.Linear(features, features), nn.ReLU(), nn.Linear(features, 1)
        )
        self.average: Tensor  # log of the moving average of E[exp T]; NaN before the first batch
        self.register_buffer("average", torch.tensor(float("nan")))

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        if len(batch.soft) < 2:  # the last validation batch may have no negatives
            return batch.soft.sum() * 0.0
        return self.negative_bound(batch.soft.mean(1), batch.text_embeddings)

    def negative_bound(
        self, messages: Float[Tensor, "b dr"], texts: Float[Tensor, "b dr"]
    ) -> Float[Tensor, ""]:
        """Negative bound in nats, with the corrected gradient in training mode."""
        a = self.of_message(messages.float() / self.space.rms)
        b = self.of_text(texts.float() / self.space.rms)
        values = self.critic(a[:, None] + b[None])[..., 0]  # (b, b), message by text
        same = torch.eye(len(a), dtype=torch.bool, device=a.device)
        joint, marginal = values[same], values[~same]
        bound = donsker_varadhan(joint, marginal)
        if not self.training:
            return -bound
        log_mean = log_mean_exp(marginal)
        self._move_average(log_mean.detach())
        # Value: the bound of this batch. Gradient: E[exp(T) dT] over the moving average.
        corrected = joint.mean() - (log_mean - self.average).exp()
        surrogate: Tensor = corrected + (bound - corrected).detach()
        return -surrogate

    @torch.no_grad()
    def _move_average(self, log_mean: Tensor) -> None:
        if self.average.isnan():
            self.average.copy_(log_mean)
            return
        kept = torch.tensor(1 - self.rate, device=log_mean.device).log() + self.average
        new = torch.tensor(self.rate, device=log_mean.device).log() + log_mean
        self.average.copy_(torch.logaddexp(kept, new))
