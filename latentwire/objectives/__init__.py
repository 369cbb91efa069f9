"""Objectives: what a bridge is trained for. A kind is one file in `latentwire.objectives`."""

from latentwire.objectives.base import OBJECTIVES, Batch, Objective, Space
from latentwire.objectives.loss import Loss
from latentwire.objectives.terms import LossTerm, parse_loss

__all__ = ["OBJECTIVES", "Batch", "Loss", "LossTerm", "Objective", "Space", "parse_loss"]
