"""Loss expressions such as `answer+0.5*kd(temperature=2)`, and the losses they define."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from latentwire.core.errors import ConfigError, ShapeError, UnknownNameError
from latentwire.objectives.base import OBJECTIVES, Batch, Objective, Space

_TERM = re.compile(
    r"\s*(?:(?P<weight>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*\*\s*)?"
    r"(?P<name>[A-Za-z_]\w*)\s*(?:\((?P<options>[^()]*)\))?\s*(?:\+|$)"
)


@dataclass(frozen=True)
class LossTerm:
    """One weighted objective of a loss.

    Args:
        weight: Weight, > 0.
        name: Name of the objective in the catalogue.
        options: Options by name.
    """

    weight: float
    name: str
    options: dict[str, Any] = field(default_factory=dict)


def parse_loss(text: str) -> tuple[LossTerm, ...]:
    """Parse a loss expression such as `answer+0.5*kd(temperature=2)`.

    Terms of weight 0 are dropped.

    Raises: ConfigError: If the syntax is wrong, an objective or option is unknown, a weight is
        negative, an objective occurs twice, or no term is left.
    """
    terms: list[LossTerm] = []
    position = 0
    while position < len(text) or not position:
        match = _TERM.match(text, position)
        if match is None or (match.end() == len(text) and text.endswith("+")):
            raise ConfigError(
                f"Cannot parse the loss '{text}' at '{text[position:]}'. Write terms as "
                f"weight*name(option=value), joined by '+', such as answer+0.5*kd(temperature=2). "
                f"Known: {', '.join(OBJECTIVES.names())}."
            )
        terms.append(_term(text, match))
        position = match.end()
    if len({term.name for term in terms}) < len(terms):
        raise ConfigError(f"The loss '{text}' contains an objective twice. Use each once.")
    kept = tuple(term for term in terms if term.weight)
    if not kept:
        raise ConfigError(f"The loss '{text}' has no term with a weight > 0.")
    return kept


def _term(text: str, match: re.Match[str]) -> LossTerm:
    name, weight = match["name"].lower(), float(match["weight"] or 1)
    try:
        known = OBJECTIVES.get(name).options()
    except UnknownNameError as error:
        raise ConfigError(str(error)) from error
    if weight < 0:
        raise ConfigError(f"The weight of '{name}' in '{text}' is {weight}; it must be >= 0.")
    options: dict[str, Any] = {}
    for pair in filter(str.strip, (match["options"] or "").split(",")):
        option, _, value = (part.strip() for part in pair.partition("="))
        if option not in known:
            raise ConfigError(
                f"Objective '{name}' has no option '{option}'. Its options: "
                f"{', '.join(f'{k}={v}' for k, v in known.items()) or 'none'}."
            )
        options[option] = _number(name, option, value, known[option])
    return LossTerm(weight, name, options)


def _number(name: str, option: str, value: str, default: Any) -> float | int:
    try:
        number = json.loads(value)
    except ValueError:
        number = None
    whole = isinstance(default, int)
    allowed = int if whole else (int, float)
    if isinstance(number, bool) or not isinstance(number, allowed) or not 0 < number < math.inf:
        what = "whole number" if whole else "number"
        raise ConfigError(f"Objective '{name}': {option} is '{value}'; it must be a {what} > 0.")
    return number


class Loss(nn.Module):
    """Weighted sum of objectives. Its parameters are those of the objectives.

    Args:
        terms: Terms from `parse_loss`.
        space: Size and scale of the soft tokens.
        seed: Random seed of the objectives' initial weights. The global random state is not
            changed, so that objectives do not affect the bridge's random numbers.
    """

    def __init__(self, terms: Sequence[LossTerm], space: Space, seed: int = 0) -> None:
        super().__init__()
        self.weights = {term.name: term.weight for term in terms}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = {t.name: OBJECTIVES.get(t.name)(space, **t.options) for t in terms}
        self.objectives = nn.ModuleDict(made)

    @property
    def trains_answer(self) -> bool:
        """Whether any objective trains the answer; the best step is then selected by accuracy."""
        return any(each.trains_answer for each in self.objectives.values())

    def channel(self, soft: Float[Tensor, "b k dr"]) -> Float[Tensor, "b k dr"]:
        """Soft tokens that the receiver reads in training."""
        for objective in self.objectives.values():
            assert isinstance(objective, Objective)
            soft = objective.channel(soft)
        return soft

    def forward(self, batch: Batch) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Total loss, and each unweighted term by name, without gradient."""
        total: Tensor | None = None
        values = {}
        for name, objective in self.objectives.items():
            value = objective(batch)
            if value.dim():
                raise ShapeError(
                    f"Objective '{name}' returned a tensor of shape {tuple(value.shape)}; "
                    "expected a scalar."
                )
            values[name] = value.detach()
            weighted = self.weights[name] * value
            total = weighted if total is None else total + weighted
        assert total is not None
        return total, values
