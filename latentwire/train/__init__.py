"""Training: the loop, its settings, its checkpoints."""

from latentwire.train.config import TrainConfig
from latentwire.train.loop import TrainResult, train_bridge
from latentwire.train.presets import PRESETS, Preset, get_preset
from latentwire.train.processes import Processes
from latentwire.train.seeds import SeedsResult, train_seeds

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
