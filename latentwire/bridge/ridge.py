"""Ridge regression from sender states to receiver embeddings, without training."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentwire.bridge.base import BRIDGES, Bridge
from latentwire.bridge.pair_facts import PairFacts
from latentwire.bridge.pooling import segment_mean
from latentwire.core.errors import ConfigError


@BRIDGES.add("ridge")
class RidgeBridge(Bridge):
    """A closed-form linear map from sender states to receiver embeddings.

    The map is a ridge regression from mean sender states to mean receiver embeddings of the same
    spans of text. The mapped states of k segments of a text are its soft tokens. The anchors, the
    only trained parameters, are initially zero. Before initialization the map is random.

    Args:
        penalty: Ridge penalty, in units of the mean variance of a state feature, >= 0.
    """

    kind = "ridge"
    about = "closed-form map to receiver embeddings, mean of k segments"
    source = "Hoerl & Kennard 1970, Technometrics 12(1); Mikolov et al. 2013, arXiv:1309.4168"
    wants = frozenset({"spans"})

    def __init__(self, *, penalty: float = 0.01, **sizes: Any) -> None:
        super().__init__(**sizes)
        if penalty < 0:
            raise ConfigError(f"ridge: penalty is {penalty}; it must be >= 0.")
        self.penalty = penalty
        features = self.n_layers * self.sender_width
        self.map: Tensor
        self.shift: Tensor
        self.register_buffer("map", torch.randn(features, self.receiver_width) * features**-0.5)
        self.register_buffer("shift", torch.zeros(self.receiver_width))
        nn.init.zeros_(self.anchors)

    def mix(
        self, x: Float[Tensor, "b l t ds"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k dr"]:
        tokens = rearrange(x, "b l t d -> b t (l d)")
        return segment_mean(tokens, mask, self.soft_tokens) @ self.map + self.shift

    @torch.no_grad()
    def initialize(self, facts: PairFacts) -> None:
        """Initialize the scales and solve for the map.

        Raises: ConfigError: If the facts contain no spans.
        """
        super().initialize(facts)
        self.anchors.zero_()
        if facts.spans is None or not len(facts.spans.states):
            raise ConfigError(
                "ridge: found no spans of text that align in both tokenizers. Use more texts."
            )
        states, embeddings = facts.spans
        x = (states.to(self.state_mean) - self.state_mean) / self.state_std
        found = ridge_map(
            rearrange(x, "n l d -> n (l d)"), embeddings / facts.embedding_rms, self.penalty
        )
        self.map.copy_(found[0].float())
        self.shift.copy_(found[1].float())


def ridge_map(
    x: Float[Tensor, "n f"], y: Float[Tensor, "n d"], penalty: float
) -> tuple[Float[Tensor, "f d"], Float[Tensor, " d"]]:
    """Find the map W and shift c that minimize |x W + c - y|^2 + penalty n v |W|^2.

    Args:
        x: Inputs.
        y: Targets.
        penalty: Ridge penalty in units of v, the mean variance of an input feature, so that it does
            not depend on the scale and number of inputs.
    Returns: W and c, float64, on the CPU (some devices have no float64).
    Source: Hoerl & Kennard 1970, Ridge Regression, Technometrics 12(1), equation 2.1.
    """
    x, y = x.cpu().double(), y.cpu().double()
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    gram = x.T @ x
    size = gram.diagonal().mean().clamp(min=1e-12)
    # With fewer rows than features, some directions have no data; a tiny penalty sets them to zero.
    gram.diagonal().add_(max(penalty, 1e-9) * size)
    found = torch.linalg.solve(gram, x.T @ y)
    return found, y_mean - x_mean @ found
