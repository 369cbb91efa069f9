"""Control: every example gets the message of another one."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.eval.context import METHODS
from latentwire.methods.bridge import BridgeMethod


@METHODS.add("shuffled")
class Shuffled(BridgeMethod):
    """Real messages, wrong examples: what a receiver scores that ignores whose message it is."""

    name = "shuffled"
    about = "control: another example's message"
    timed = False
    independent = False  # whose message it gets depends on who is there

    def tamper(self, soft: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        generator = torch.Generator().manual_seed(self.context.seed)
        order = torch.randperm(len(soft), generator=generator)
        # Each takes the message of its neighbour in a random circle: nobody keeps its own.
        given = torch.empty_like(soft)
        given[order] = soft[order.roll(1)]
        return given
