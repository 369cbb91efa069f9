"""The weighted sum of objectives that a training minimises."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from latentwire.objectives.base import OBJECTIVES, Batch, Objective, Space
from latentwire.objectives.terms import LossTerm


class Loss(nn.Module):
    """A sum of weighted objectives; its parameters are those of their own trained parts.

    Args:
        terms: As `parse_loss` gives them.
        space: Sizes of the soft tokens.
        seed: Of the first weights of the objectives' own parts. The caller's random state is
            left as it is, so that a part does not change what is drawn for the bridge.
    """

    def __init__(self, terms: Sequence[LossTerm], space: Space, seed: int = 0) -> None:
        super().__init__()
        self.weights = {term.name: term.weight for term in terms}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = {t.name: OBJECTIVES.get(t.name)(space, **t.options) for t in terms}
        self.objectives = nn.ModuleDict(made)

    @property
    def asks_for_the_answer(self) -> bool:
        """Whether a term trains the receiver's answer; then answering well is what is chosen by."""
        return any(each.asks_for_the_answer for each in self.objectives.values())

    def channel(self, soft: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        """What the receiver reads in training in place of the soft tokens."""
        for objective in self.objectives.values():
            assert isinstance(objective, Objective)
            soft = objective.channel(soft)
        return soft

    def forward(self, batch: Batch) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The weighted sum, and each term before it is weighted, without gradient."""
        total: Tensor | None = None
        values = {}
        for name, objective in self.objectives.items():
            value = objective(batch)
            values[name] = value.detach()
            weighted = self.weights[name] * value
            total = weighted if total is None else total + weighted
        assert total is not None
        return total, values
