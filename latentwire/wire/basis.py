"""Low-rank basis of the soft tokens of one bridge, from a principal component analysis.

The codec `lowrank` sends coordinates in this basis instead of soft tokens. An alternative
would be to split the bridge before its last linear map and let the receiver apply that map, but
many bridges have no such map or normalize soft tokens after it, and its width is fixed at training
time. Principal components of real messages work for every bridge and any rank without retraining,
and no other basis of that rank has a smaller squared error on those messages.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import linear

from latentwire.core.errors import BridgeError, MessageError, UsageError

DEFAULT_RANK = 128  # 8 soft tokens are then about 1.5 KB


@dataclass(frozen=True, eq=False)
class Basis:
    """Mean and principal directions of the messages of a bridge.

    Args:
        mean: Mean message, (k, dr), float32.
        directions: Orthonormal rows, in order of decreasing variance, (r, dr), float32.
    """

    mean: Float[Tensor, "k dr"]
    directions: Float[Tensor, "r dr"]

    @property
    def rank(self) -> int:
        """Number r of coordinates per soft token."""
        return len(self.directions)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that identify the basis; messages carry them."""
        digest = hashlib.sha256(str(tuple(self.directions.shape)).encode())
        for part in (self.mean, self.directions):
            digest.update(part.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def shrink(self, soft: Float[Tensor, "k dr"]) -> Float[Tensor, "k r"]:
        """Return the coordinates of soft tokens. Raises: MessageError: If their shape differs."""
        if soft.shape != self.mean.shape:
            raise MessageError(
                f"The basis is for soft tokens of shape {tuple(self.mean.shape)}; these have shape "
                f"{tuple(soft.shape)}. Use a codec other than lowrank for them."
            )
        return linear(soft - self.mean, self.directions)  # a third faster than `@` at this size

    def expand(self, codes: Float[Tensor, "k r"]) -> Float[Tensor, "k dr"]:
        """Return soft tokens from their coordinates. Raises: MessageError: If one is not finite."""
        soft = torch.addmm(self.mean, codes, self.directions)
        if not np.isfinite(soft.numpy()).all():  # ten times faster than torch.isfinite at this size
            raise MessageError("The lowrank message contains a number that is not finite.")
        return soft

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of a basis file."""
        return {"mean": self.mean.contiguous(), "directions": self.directions.contiguous()}

    @classmethod
    def load(cls, path: Path, fingerprint: str) -> Basis:
        """Read a basis.

        Raises: BridgeError: If the file is missing, damaged or has another fingerprint.
        """
        try:
            found = load_file(path)
            basis = cls(found["mean"].float(), found["directions"].float())
        except (OSError, SafetensorError, KeyError) as error:
            raise BridgeError(f"{path} is not a basis of lowrank messages: {error}.") from error
        if basis.fingerprint != fingerprint:
            raise BridgeError(
                f"{path} is damaged or belongs to another bridge: its fingerprint is "
                f"{basis.fingerprint}, the recorded one {fingerprint}. Copy the folder again."
            )
        return basis


def fit_basis(soft: Float[Tensor, "n k dr"], rank: int) -> Basis:
    """Fit the basis with the smallest squared error on given messages.

    Each position in the message has its own mean; the directions are shared by all positions.

    Args:
        soft: Soft tokens of training texts, at least two messages.
        rank: Coordinates per soft token, 1..dr; reduced if the messages span fewer directions.
    Raises: UsageError: If the rank is out of range, or there are fewer than two messages.
    Source: Eckart & Young 1936, The approximation of one matrix by another of lower rank.
    """
    n, _, width = soft.shape
    if not 1 <= rank <= width or n < 2:
        raise UsageError(
            f"A basis needs a rank of 1 to {width} and at least 2 messages; given: rank {rank} and "
            f"{n} message(s)."
        )
    soft = soft.detach().to("cpu", torch.float32)
    mean = soft.mean(0)
    centered = (soft - mean).flatten(0, 1)  # (n k, dr)
    directions = torch.linalg.svd(centered, full_matrices=False).Vh[:rank]
    return Basis(mean, directions.contiguous())
