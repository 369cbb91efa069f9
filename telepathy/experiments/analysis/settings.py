"""Configurations as flat dictionaries with dotted keys, and what their keys are called."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

# What says where, or as which of several like runs, an experiment runs; not what it is.
_NOT_SETTINGS = set(
    "task dataset seed seeds method methods baseline gpu gpus device out out_dir output_dir "
    "host partition account time time_limit name suite run".split()
)

# What suites say as `kind`: which command ran. A `bridge.kind` is a setting.
_SECTIONS = ("baselines", "bridge", "benchmark")


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration with dotted keys; lists become JSON text, so values compare."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = json.dumps(value) if isinstance(value, list) else value
    return found


def leaf(key: str) -> str:
    """The last part of a dotted key, as Python spells it: `train.batch-size` -> `batch_size`."""
    return key.rpartition(".")[2].replace("-", "_").lower()


def pick(config: Mapping[str, Any], *names: str) -> Any:
    """The value of the first of these names that some dotted key ends with; None if none does."""
    known = {leaf(key): value for key, value in reversed(flat(config).items())}
    return next((known[name] for name in names if known.get(name) is not None), None)


def key_named(config: Mapping[str, Any], *names: str) -> str | None:
    """The dotted key that ends with the first of these names that is there."""
    known = {leaf(key): key for key in reversed(flat(config))}
    return next((known[name] for name in names if name in known), None)


def changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a configuration with new values at dotted keys."""
    new = copy.deepcopy(dict(config))
    for key, value in changes.items():
        place = new
        *parents, last = key.split(".")
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value
    return new


def setting_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two runs of one method and task comparable: all but task, seed and place."""
    return {
        key: value
        for key, value in flat(config).items()
        if leaf(key) not in _NOT_SETTINGS and not (key == "kind" and value in _SECTIONS)
    }


def number(value: Any) -> float | None:
    """A value as a number; None if it is none (True and False are none)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)
