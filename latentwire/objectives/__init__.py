"""Training objectives. Each objective is one file in this package."""

from latentwire.objectives.base import OBJECTIVES, Batch, Objective, Space
from latentwire.objectives.loss import Loss, LossTerm, parse_loss

__all__ = ["OBJECTIVES", "Batch", "Loss", "LossTerm", "Objective", "Space", "parse_loss"]
