"""Everything that answers examples, and the evaluation that holds them side by side."""

from latentwire.baselines.context import METHODS, Context
from latentwire.baselines.evaluate import BASELINES, CONTROLS, evaluate
from latentwire.baselines.suite import ALL_METHODS, Plan, run_suite

__all__ = [
    "ALL_METHODS",
    "BASELINES",
    "CONTROLS",
    "METHODS",
    "Context",
    "Plan",
    "evaluate",
    "run_suite",
]
