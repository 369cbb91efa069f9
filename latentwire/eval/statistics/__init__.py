"""Intervals, paired tests, corrections for several claims, and power."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentwire.eval.statistics.intervals import (
        Resamples,
        bca_intervals,
        difference_interval,
        wilson_interval,
    )
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
    from latentwire.eval.statistics.power import (
        PairedVariation,
        detectable_difference,
        examples_needed,
    )
    from latentwire.eval.statistics.scores import Score, accuracy, mean_score, pooled_accuracy

LEVEL = 0.05
"""Two-sided significance level of all tests, and one minus the confidence of all intervals."""

_HOMES = {
    "Comparison": "paired",
    "Resamples": "intervals",
    "Score": "scores",
    "PairedVariation": "power",
    "accuracy": "scores",
    "bca_intervals": "intervals",
    "benjamini_hochberg": "multiple",
    "benjamini_hochberg_p_values": "multiple",
    "compare": "paired",
    "detectable_difference": "power",
    "difference_interval": "intervals",
    "examples_needed": "power",
    "holm": "multiple",
    "holm_p_values": "multiple",
    "mcnemar_p_value": "paired",
    "mean_score": "scores",
    "pooled_accuracy": "scores",
    "sign_flip_p_value": "paired",
    "wilson_interval": "intervals",
}

__all__ = [
    "LEVEL",
    "Comparison",
    "PairedVariation",
    "Resamples",
    "Score",
    "accuracy",
    "bca_intervals",
    "benjamini_hochberg",
    "benjamini_hochberg_p_values",
    "compare",
    "detectable_difference",
    "difference_interval",
    "examples_needed",
    "holm",
    "holm_p_values",
    "mcnemar_p_value",
    "mean_score",
    "pooled_accuracy",
    "sign_flip_p_value",
    "wilson_interval",
]


def __getattr__(name: str) -> Any:
    """Load a function when it is first used, so that importing LEVEL stays instant."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
