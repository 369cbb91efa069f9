"""Training of bridges: configuration, loop, checkpoints, several processes, trackers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentwire.train.bridge_training import TrainResult, train_bridge
    from latentwire.train.config import TrainConfig
    from latentwire.train.presets import PRESETS, Preset, get_preset
    from latentwire.train.processes import Processes
    from latentwire.train.seeds import SeedsResult, train_seeds

_MODULES = {
    "PRESETS": "presets",
    "Preset": "presets",
    "Processes": "processes",
    "SeedsResult": "seeds",
    "TrainConfig": "config",
    "TrainResult": "bridge_training",
    "get_preset": "presets",
    "train_bridge": "bridge_training",
    "train_seeds": "seeds",
}

__all__ = [
    "PRESETS",
    "Preset",
    "Processes",
    "SeedsResult",
    "TrainConfig",
    "TrainResult",
    "get_preset",
    "train_bridge",
    "train_seeds",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the configuration must load without torch."""
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
