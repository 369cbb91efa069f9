"""Objectives: what a bridge is trained for. A kind is one file in `latentwire.objectives`."""

from latentwire.objectives.base import OBJECTIVES, Batch, Objective, Space
from latentwire.objectives.loss import Loss
from latentwire.objectives.terms import Term, parse_loss

__all__ = ["OBJECTIVES", "Batch", "Loss", "Objective", "Space", "Term", "parse_loss"]
