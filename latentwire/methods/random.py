"""Control: the message is noise of the same norm."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.eval.context import METHODS
from latentwire.methods.bridge import BridgeMethod


@METHODS.add("random")
class Random(BridgeMethod):
    """Gaussian noise, each soft token scaled to the norm of the real one."""

    name = "random"
    about = "control: noise of the same norm"
    timed = False
    independent = False  # the noise is drawn for all at once

    def tamper(self, soft: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        generator = torch.Generator().manual_seed(self.context.seed)
        noise = torch.randn(soft.shape, generator=generator).to(soft)
        scale: Tensor = soft.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)
        return noise * scale
