"""Look up options of configurations by key.

Configurations of suites are nested (see `ExperimentConfig`); those of shell jobs and of earlier
versions may have any form, so options are found by their short names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# Options that distinguish comparable runs by task, seed, method or machine, not by configuration.
_NOT_COMPARED = set(
    "task dataset seed seeds method methods baseline gpu gpus device out "
    "out_dir output_dir host partition account time time_limit name suite run".split()
)
_KINDS = ("baselines", "bridge", "benchmark")


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a nested configuration to dotted keys; lists become JSON text."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = json.dumps(value) if isinstance(value, list) else value
    return found


def short_name(key: str) -> str:
    """Short name of a dotted key: `train.batch-size` -> `batch_size`, `task.name` -> `task`."""
    *sections, name = key.replace("-", "_").lower().split(".")
    return sections[-1] if sections and name == "name" else name


def find_key(config: Mapping[str, Any], *names: str) -> str | None:
    """Return the dotted key of the first short name found in the configuration; None if none is."""
    known = {short_name(key): key for key in reversed(flatten(config))}
    return next((known[name] for name in names if name in known), None)


def find_value(config: Mapping[str, Any], *names: str) -> Any:
    """Return the value of the first short name that is set; None if none is."""
    known = {short_name(key): value for key, value in reversed(flatten(config).items())}
    return next((known[name] for name in names if known.get(name) is not None), None)


def compared_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Options that must agree for two runs of one method on one task to be pooled."""
    return {
        key: value
        for key, value in flatten(config).items()
        if short_name(key) not in _NOT_COMPARED and not (key == "kind" and value in _KINDS)
    }


def as_number(value: Any) -> float | None:
    """Convert an int or float to float; None for anything else, including booleans."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)
