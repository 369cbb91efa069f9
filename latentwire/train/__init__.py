"""Training: the loop, its settings, its checkpoints."""

from latentwire.train.config import TrainConfig
from latentwire.train.loop import TrainResult, train_bridge

__all__ = ["TrainConfig", "TrainResult", "train_bridge"]
