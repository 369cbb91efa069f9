"""Recurrent perceiver: latents updated in several steps, with a memory of earlier steps."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES
from latentwire.bridge.blocks import ReadingBlock
from latentwire.bridge.latent_bridge import LatentBridge
from latentwire.core.errors import ConfigError


@BRIDGES.add("perceiver_cot")
class PerceiverCotBridge(LatentBridge):
    """A chain of thought in latents: one block, applied several times to a growing memory.

    The latents of each step are appended to the sender tokens, and later steps can attend to
    them. All steps share their weights, and a learned step vector distinguishes them.

    Args:
        n_steps: Number of steps, at least 1.
        width, heads, gain, dropout: See LatentBridge.
    """

    kind = "perceiver_cot"
    about = "recurrent latents with attention to states and earlier steps"
    source = "Hao et al. 2024, Coconut, arXiv:2412.06769 (latent steps); arXiv:2107.14795 (reading)"

    def __init__(
        self,
        *,
        width: int = 320,
        n_steps: int = 3,
        heads: int = 8,
        gain: float = 0.3,
        dropout: float = 0.2,
        **sizes: Any,
    ) -> None:
        super().__init__(width=width, heads=heads, gain=gain, dropout=dropout, **sizes)
        if n_steps < 1:
            raise ConfigError(f"perceiver_cot: n_steps is {n_steps}; it must be >= 1.")
        self.block = ReadingBlock(width, heads)
        self.step_vectors = nn.Parameter(torch.randn(n_steps, width) * 0.1)
        self.memory_norm = nn.LayerNorm(width)

    def read(
        self, tokens: Float[Tensor, "b t w"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k w"]:
        latents = self.queries.expand(len(tokens), -1, -1)
        written = mask.new_ones(len(tokens), self.soft_tokens)
        for step in self.step_vectors:
            # The memory of the first step contains the queries, so all steps work in the same way.
            tokens = torch.cat([tokens, self.memory_norm(latents)], dim=1)  # (b, t + k, w)
            mask = torch.cat([mask, written], dim=1)
            latents = self.block(latents + step, tokens, mask)
        return latents
