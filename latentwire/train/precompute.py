"""Precompute sender states and scores before the first training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from latentwire.core.progress import Progress
from latentwire.core.run_folder import RunFolder
from latentwire.models.state_cache import StateCache
from latentwire.train.config import TrainConfig
from latentwire.train.processes import Processes
from latentwire.train.signals import StopRequest, stop_error
from latentwire.train.training_data import TaskData, plan_batches

T = TypeVar("T")


def precompute_states(
    cache: StateCache,
    texts: Sequence[str],
    processes: Processes,
    progress: Progress,
    stop: StopRequest,
    run: RunFolder,
) -> None:
    """Compute and store missing sender states; the processes share the texts.

    Raises: InterruptedRunError: If a process was stopped by a signal. Computed states are kept.
    """

    def compute(some: Sequence[str]) -> None:
        cache.refresh()
        cache.ensure(some, progress=progress, stop=stop)

    _share_work("sender states", compute, texts, processes, stop, run)


def precompute_sender_scores(
    data: Sequence[TaskData],
    config: TrainConfig,
    processes: Processes,
    progress: Progress,
    stop: StopRequest,
    run: RunFolder,
) -> None:
    """Compute and store missing sender scores of all training examples that will be drawn.

    Raises: InterruptedRunError: If a process was stopped by a signal. Computed scores are kept.
    """
    for each, drawn in zip(data, plan_batches(data, config, processes.world).drawn()):
        scores = each.prompted.sender_scores
        assert scores is not None
        compute = partial(scores.ensure, each.train.examples, progress=progress, stop=stop)
        _share_work("sender scores", compute, drawn, processes, stop, run)


def _share_work(
    what: str,
    compute: Callable[[Sequence[T]], object],
    items: Sequence[T],
    processes: Processes,
    stop: StopRequest,
    run: RunFolder,
) -> None:
    """Call `compute` on this process's share of the items, then on all items."""
    compute(items[processes.rank :: processes.world])
    kind = int(processes.largest(stop.kind))
    if processes.world > 1 and not kind:
        compute(items)  # computes the other processes' items only if they have separate caches
        kind = int(processes.largest(stop.kind))
    if kind:
        raise stop_error(
            kind,
            f"Stopped while computing {what}; those computed so far are kept. To continue, run the "
            f"same command again with --resume (run folder {run.path}).",
        )
