"""Before the first step: all that the sender has to give is computed and stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from latentwire.core.progress import Progress
from latentwire.core.run_folder import RunFolder
from latentwire.models.state_cache import StateCache
from latentwire.train.config import TrainConfig
from latentwire.train.processes import Processes
from latentwire.train.signals import StopRequest, stopped
from latentwire.train.training_data import TaskData, plan_batches

T = TypeVar("T")


def fill_states(
    cache: StateCache,
    texts: Sequence[str],
    processes: Processes,
    progress: Progress,
    stop: StopRequest,
    run: RunFolder,
) -> None:
    """Compute the sender states that are not stored yet, each process its share.

    Raises: InterruptedRunError: If one was asked to stop; what was computed is stored.
    """

    def compute(some: Sequence[str]) -> None:
        cache.refresh()
        cache.ensure(some, progress=progress, stop=stop)

    _share("sender states", compute, texts, processes, stop, run)


def fill_answers(
    data: Sequence[TaskData],
    config: TrainConfig,
    processes: Processes,
    progress: Progress,
    stop: StopRequest,
    run: RunFolder,
) -> None:
    """Let the sender answer the training examples that will be drawn, each process its share.

    Raises: InterruptedRunError: If one was asked to stop; what was computed is stored.
    """
    for each, drawn in zip(data, plan_batches(data, config, processes.world).drawn()):
        answers = each.reading.sender_answers
        assert answers is not None
        compute = partial(answers.ensure, each.train.examples, progress=progress, stop=stop)
        _share("sender answers", compute, drawn, processes, stop, run)


def _share(
    what: str,
    compute: Callable[[Sequence[T]], object],
    items: Sequence[T],
    processes: Processes,
    stop: StopRequest,
    run: RunFolder,
) -> None:
    """Have `compute` take what is stored of some items, and compute and store the rest."""
    compute(items[processes.rank :: processes.world])
    kind = int(processes.largest(stop.kind))
    if processes.world > 1 and not kind:
        compute(items)  # only where caches are not shared is anything left to compute
        kind = int(processes.largest(stop.kind))
    if kind:
        raise stopped(
            kind,
            f"Stopped while {what} were computed; they are kept. Go on with the same command and "
            f"--resume (run folder {run.path}).",
        )
