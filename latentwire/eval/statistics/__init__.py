"""Intervals, paired tests, corrections for many claims, and power."""

from latentwire.eval.statistics.bootstrap import Resamples, bca_intervals
from latentwire.eval.statistics.multiple import (
    benjamini_hochberg,
    benjamini_hochberg_p_values,
    holm,
    holm_p_values,
)
from latentwire.eval.statistics.paired import (
    Comparison,
    compare,
    mcnemar_p_value,
    sign_flip_p_value,
)
from latentwire.eval.statistics.power import Spread, detectable_difference, examples_needed
from latentwire.eval.statistics.scores import Score, accuracy, mean_score, pooled_accuracy

__all__ = [
    "Comparison",
    "Resamples",
    "Score",
    "Spread",
    "accuracy",
    "bca_intervals",
    "benjamini_hochberg",
    "benjamini_hochberg_p_values",
    "compare",
    "detectable_difference",
    "examples_needed",
    "holm",
    "holm_p_values",
    "mcnemar_p_value",
    "mean_score",
    "pooled_accuracy",
    "sign_flip_p_value",
]
