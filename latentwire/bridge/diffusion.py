"""Diffusion transformer that denoises soft tokens, conditioned on the text."""

from __future__ import annotations

import math
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES
from latentwire.bridge.blocks import Attention, TimeEmbedding, feed_forward
from latentwire.bridge.latent_bridge import LatentBridge
from latentwire.bridge.pooling import masked_mean
from latentwire.core.errors import ConfigError

_START = 0.05
"""Standard deviation of the initial modulation weights. DiT uses 0, with which gated weights get no
gradient in the first step; that matters in a short training run."""


@BRIDGES.add("diffusion")
class DiffusionBridge(LatentBridge):
    """A few deterministic denoising steps, each predicting the clean offsets from noisy ones.

    The mean state conditions the blocks (adaptive layer norm). The initial noise is learned and the
    same for all texts, so the result depends on the text only. There are no target soft tokens: the
    receiver's loss is backpropagated through all steps, and the auxiliary loss `denoising` trains
    the network to recover the offsets it produced from noisy versions of them.

    Args:
        depth: Number of transformer blocks.
        n_steps: Number of denoising steps, at least 1.
        denoise_weight: Weight of the auxiliary loss `denoising`.
        width, heads, gain, dropout: See LatentBridge.
    """

    kind = "diffusion"
    about = "small diffusion transformer, a few deterministic steps"
    source = "Peebles & Xie 2023, DiT, arXiv:2212.09748; Song et al. 2021, DDIM, arXiv:2010.02502"

    def __init__(
        self,
        *,
        width: int = 320,
        depth: int = 2,
        n_steps: int = 4,
        heads: int = 8,
        denoise_weight: float = 0.1,
        gain: float = 0.3,
        dropout: float = 0.2,
        **sizes: Any,
    ) -> None:
        super().__init__(width=width, heads=heads, gain=gain, dropout=dropout, **sizes)
        if n_steps < 1:
            raise ConfigError(f"diffusion: n_steps is {n_steps}; it must be >= 1.")
        self.n_steps, self.denoise_weight = n_steps, denoise_weight
        self.noise = nn.Parameter(torch.randn(self.soft_tokens, self.receiver_width))
        self.entering = nn.Linear(self.receiver_width, width, bias=False)
        self.time = TimeEmbedding(width)
        self.blocks = nn.ModuleList(_DiTBlock(width, heads) for _ in range(depth))

    def mix(
        self, x: Float[Tensor, "b l t ds"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k dr"]:
        mean = rearrange(masked_mean(self.drop(x), mask), "b l d -> b (l d)")
        offsets = noisy = self.noise.expand(len(x), -1, -1)
        for step in range(self.n_steps, 0, -1):
            time = mean.new_full((len(x),), step / self.n_steps)
            offsets = self._denoise(noisy, time, mean)
            noisy = _ddim_step(noisy, offsets, step / self.n_steps, (step - 1) / self.n_steps)
        if self.training:
            loss = self._denoising_loss(offsets.detach(), mean)
            self.note_loss("denoising", self.denoise_weight * loss)
        return offsets

    def _denoise(self, noisy: Tensor, time: Tensor, mean: Tensor) -> Tensor:
        """Predict clean offsets (b, k, dr) from noisy ones at `time` (b,)."""
        condition = self.reading(mean) + self.time(time)
        latents = self.queries + self.entering(noisy)
        for block in self.blocks:
            latents = block(latents, condition)
        return self.offsets(latents, mean)

    def _denoising_loss(self, clean: Tensor, mean: Tensor) -> Tensor:
        """Mean squared error of the prediction at a random time with new noise.

        Source: Ho et al. 2020, DDPM, arXiv:2006.11239, algorithm 1, predicting the clean sample.
        """
        time = torch.rand(len(clean), device=clean.device)
        signal, noise = _levels(time[:, None, None])
        noisy = signal * clean + noise * torch.randn_like(clean)
        return (self._denoise(noisy, time, mean) - clean).pow(2).mean()


class _DiTBlock(nn.Module):
    """Self-attention and feed-forward, with shift, scale and gates from the condition.

    Source: Peebles & Xie 2023, DiT, arXiv:2212.09748, section 3.2 (adaLN).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention, self.feed = Attention(width, heads), feed_forward(width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        nn.init.normal_(self.modulation[1].weight, std=_START)  # type: ignore[arg-type]

    def forward(self, latents: Tensor, condition: Tensor) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(condition)[:, None].chunk(
            6, dim=-1
        )  # each (b, 1, w)
        normed = self.norm(latents) * (1 + scale) + shift
        latents = latents + gate * self.attention(normed, normed, None)
        normed = self.norm(latents) * (1 + scale2) + shift2
        return latents + gate2 * self.feed(normed)  # type: ignore[no-any-return]


def _levels(time: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of signal and noise at a time in 0..1; their squares sum to 1.

    Source: Nichol & Dhariwal 2021, arXiv:2102.09672, section 3.2 (cosine schedule).
    """
    angle = time * (math.pi / 2)
    return angle.cos(), angle.sin()


def _ddim_step(noisy: Tensor, clean: Tensor, now: float, then: float) -> Tensor:
    """Step from noisy offsets at time `now` > 0 to those at time `then`, without new noise.

    Source: Song et al. 2021, DDIM, arXiv:2010.02502, equation 12 with sigma = 0.
    """
    signal, noise = _levels(noisy.new_tensor(now))
    signal_then, noise_then = _levels(noisy.new_tensor(then))
    return signal_then * clean + noise_then * (noisy - signal * clean) / noise
