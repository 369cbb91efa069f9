"""Analysis of experiments from their records and run folders, without models or torch."""

from telepathy.experiments.analysis.analysis import Analysis, analyze

__all__ = ["Analysis", "analyze"]
