"""`answer+0.5*kd(temperature=2)`: how a loss is written, and what it may name."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

from latentwire.core.errors import ConfigError, UnknownNameError
from latentwire.objectives.base import OBJECTIVES

_TERM = re.compile(
    r"\s*(?:(?P<weight>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*\*\s*)?"
    r"(?P<name>[A-Za-z_]\w*)\s*(?:\((?P<options>[^()]*)\))?\s*(?:\+|$)"
)


@dataclass(frozen=True)
class LossTerm:
    """One part of a loss.

    Args:
        weight: Factor before it, > 0.
        name: Its objective.
        options: Options of the objective's kind.
    """

    weight: float
    name: str
    options: dict[str, Any] = field(default_factory=dict)


def parse_loss(text: str) -> tuple[LossTerm, ...]:
    """The terms of a loss such as `answer+0.5*kd(temperature=2)`.

    A term of weight 0 is left out: nothing of it is built or run.

    Raises: ConfigError: If it does not read so, names an unknown objective or option, has a
        negative weight, names one objective twice or nothing at all.
    """
    terms: list[LossTerm] = []
    position = 0
    while position < len(text) or not position:
        match = _TERM.match(text, position)
        if match is None or (match.end() == len(text) and text.endswith("+")):
            raise ConfigError(
                f"Cannot read the loss '{text}' from '{text[position:]}' on. Write terms as "
                f"weight*name(option=value), joined by '+', e.g. answer+0.5*kd(temperature=2). "
                f"Known: {', '.join(OBJECTIVES.names())}."
            )
        terms.append(_term(text, match))
        position = match.end()
    if len({term.name for term in terms}) < len(terms):
        raise ConfigError(f"The loss '{text}' names an objective twice; give it once, weighted.")
    kept = tuple(term for term in terms if term.weight)
    if not kept:
        raise ConfigError(f"The loss '{text}' has no term with a weight above 0.")
    return kept


def _term(text: str, match: re.Match[str]) -> LossTerm:
    name, weight = match["name"].lower(), float(match["weight"] or 1)
    try:
        known = OBJECTIVES.get(name).options()
    except UnknownNameError as error:
        raise ConfigError(str(error)) from error
    if weight < 0:
        raise ConfigError(f"The weight of '{name}' in '{text}' is {weight}; it must be 0 or more.")
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
        raise ConfigError(
            f"Objective '{name}': {option} is '{value}'; it must be a {what} above 0."
        )
    return number
