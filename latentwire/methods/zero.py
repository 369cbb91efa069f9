"""Control: the message is all zeros."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.eval.context import METHODS
from latentwire.methods.bridge import BridgeMethod


@METHODS.add("zero")
class Zero(BridgeMethod):
    """What the receiver answers when nothing is said."""

    name = "zero"
    about = "control: message of zeros"
    timed = False

    def tamper(self, soft: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        return torch.zeros_like(soft)
