"""A whole suite on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from latentwire.core.errors import REQUEUE
from telepathy.experiments.registry import Registry
from telepathy.experiments.registry.execution import stop_signals
from telepathy.experiments.suites.expansion import Experiment
from telepathy.experiments.suites.loading import Suite
from telepathy.experiments.suites.push import Pusher
from telepathy.experiments.suites.slots import slots
from telepathy.experiments.suites.summary import summary
from telepathy.experiments.suites.worker import Worker
from telepathy.reporting.text import View


def run_here(
    suite: Suite,
    experiments: Sequence[Experiment],
    registry: Registry,
    *,
    jobs: int | None = None,
    push: bool = False,
) -> View:
    """Run what is due, for the main thread of a program that does nothing else.

    Args:
        suite: The suite.
        experiments: Its experiments.
        registry: Where they are written down.
        jobs: Experiments at a time; as many as fit by default.
        push: Bring results to git behind experiments now and then, and at the end.
    Returns: How all stand; with exit code 75 if it was asked to stop and something is left.
    """
    places = slots(experiments, jobs)
    pusher = Pusher(registry, experiments, f"Results of {suite.prefix}") if push else None
    # The experiments run this very program, if no other is named.
    os.environ.setdefault("LATENTWIRE_PYTHON", sys.executable)
    for experiment in experiments:
        registry.add(experiment.name, experiment.config, command=experiment.command)
    with stop_signals() as stop:
        _say(f"{len(places)} at a time; logs and results are in {registry.store.runs_dir}/")
        worker = Worker(registry, experiments, stop, _say, pusher.now_and_then if pusher else None)
        worker.run(places)
        if pusher:
            pusher.push()
    view = summary(suite, experiments, registry)
    stopped = bool(stop.numbers) and view.data["n_due"]
    return replace(view, exit_code=REQUEUE) if stopped else view


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
