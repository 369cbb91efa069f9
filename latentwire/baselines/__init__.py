"""Everything that answers examples, and the evaluation that holds them side by side."""

from latentwire.baselines.context import METHODS, Context
from latentwire.baselines.evaluate import BASELINES, CONTROLS, evaluate

__all__ = ["BASELINES", "CONTROLS", "METHODS", "Context", "evaluate"]
