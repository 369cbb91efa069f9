"""What the experiments say, computed from their records and run folders: no model, no torch."""

from telepathy.experiments.analysis.analysis import Analysis, analyze

__all__ = ["Analysis", "analyze"]
