"""Detectors of trainings that did not learn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

from telepathy.experiments.analysis.analyzed_run import AnalyzedRun
from telepathy.experiments.analysis.config_keys import as_number
from telepathy.experiments.analysis.detector import Evidence, detector
from telepathy.experiments.analysis.findings import Finding

NOT_LEARNING, DIVERGED = "training loss did not fall", "training diverged"
_MIN_STEPS, _N_WINDOWS = 40, 10
_MIN_FALL = 0.1  # share of the first window's loss that counts as learning
_MAX_RISE, _MIN_SCATTERS = 1.5, 3


@detector(NOT_LEARNING)
def loss_did_not_fall(evidence: Evidence) -> Iterator[Finding]:
    """The loss of the last tenth of the steps is no lower than that of the first tenth."""
    for run, folder, losses in _trainings(evidence):
        if losses[-1] >= losses[0] and min(losses) >= (1 - _MIN_FALL) * losses[0]:
            yield Finding(
                NOT_LEARNING,
                f"{run.record.name}: the median loss was {losses[0]:.3g} in the first tenth of the "
                f"steps and {losses[-1]:.3g} in the last.",
                (run.key,),
                about=(run.task, "bridge"),
                data={"loss": losses, "folder": folder.name},
            )


@detector(DIVERGED, unless=(NOT_LEARNING,))
def loss_diverged(evidence: Evidence) -> Iterator[Finding]:
    """The loss fell and then rose by much more than its scatter around the trend."""
    for run, folder, losses in _trainings(evidence):
        lowest, last = min(losses), losses[-1]
        scatter = median(abs(b - (a + c) / 2) for a, b, c in zip(losses, losses[1:], losses[2:]))
        rise = last - lowest
        if (
            last > _MAX_RISE * lowest
            and rise > _MIN_SCATTERS * scatter
            and rise > _MIN_FALL * (losses[0] - lowest)
        ):
            yield Finding(
                DIVERGED,
                f"{run.record.name}: the loss fell to {lowest:.3g} and ended at {last:.3g}.",
                (run.key,),
                about=(run.task, "bridge"),
                data={"loss": losses, "folder": folder.name},
            )


def _trainings(evidence: Evidence) -> Iterator[tuple[AnalyzedRun, Path, list[float]]]:
    """Run, folder and windowed losses of each training that is long enough."""
    for run in evidence.completed:
        for folder in run.training_folders:
            if losses := _windowed_losses(run, folder):
                yield run, folder, losses


def _windowed_losses(run: AnalyzedRun, folder: Path) -> list[float]:
    """Median training loss of each tenth of the steps; empty for a short training."""
    rows = (as_number(row.get("loss")) for row in run.curve(folder))
    losses = [loss for loss in rows if loss is not None]
    n = len(losses)
    if n < _MIN_STEPS:
        return []
    edges = [round(i * n / _N_WINDOWS) for i in range(_N_WINDOWS + 1)]
    return [median(losses[a:b]) for a, b in pairwise(edges)]
