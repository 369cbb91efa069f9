"""Run a suite's experiments on one machine: each slot takes the next pending one."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from telepathy.experiments.registry import NotDueError, Record, Registry
from telepathy.experiments.registry.execution import ReceivedSignals, run_experiment
from telepathy.experiments.registry.record import COMPLETED, FAILED, RUNNING
from telepathy.experiments.registry.scheduling import decide, is_due
from telepathy.experiments.suites.earlier_records import executable_config, records_of
from telepathy.experiments.suites.expansion import Experiment
from telepathy.experiments.suites.summary import outcome

_POLL_SECONDS = 1.0


class Worker:
    """Claims experiments in the registry, so any number of workers can share one suite.

    The next submission, not this worker, retries a failed experiment that has retries left. An
    experiment that preempts itself is retried at once. A benchmark has its GPU to itself, or the
    whole machine if there is none; other workers are not considered.

    Args:
        registry: The registry.
        experiments: Experiments in the order in which they start.
        stop: Signals that this process received; no experiment is started after one.
        say: Called with a line at the start and end of each experiment.
        on_completed: Called after each completed experiment, in its thread.
    """

    def __init__(
        self,
        registry: Registry,
        experiments: Sequence[Experiment],
        stop: ReceivedSignals,
        say: Callable[[str], None],
        on_completed: Callable[[], None] | None = None,
    ) -> None:
        self.registry, self.experiments = registry, list(experiments)
        self.stop, self.say, self.on_completed = stop, say, on_completed
        self._lock = threading.Lock()
        self._taken: dict[str, tuple[Experiment, str | None]] = {}
        self._failed: set[str] = set()
        self._errors: list[BaseException] = []
        self._n_slots = 1

    def run(self, slots: Sequence[str | None]) -> None:
        """Work until no experiment can be started here, or a signal arrives.

        Args:
            slots: GPU index, or None, of each slot; a slot runs one experiment at a time.
        Raises: The first error in a slot that is not a failure of its experiment.
        """
        self._n_slots = len(slots)
        threads = [threading.Thread(target=self._slot, args=[gpu], daemon=True) for gpu in slots]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # waiting without a timeout would block signals
                thread.join(timeout=0.2)
        if self._errors:
            raise self._errors[0]

    def _slot(self, gpu: str | None) -> None:
        try:
            while (experiment := self._take(gpu)) is not None:
                self._run(experiment, gpu)
        except BaseException as error:
            self._errors.append(error)

    def _take(self, gpu: str | None) -> Experiment | None:
        """The next pending experiment. Waits while a running one may make another one ready."""
        while not self.stop.numbers and not self._errors:
            with self._lock:
                records = self._records()
                is_open = [e for e in self.experiments if self._is_open(e, records)]
                ready = [e for e in is_open if not missing(e, records)]
                neighbours = [e for e, place in self._taken.values() if place == gpu]
                for experiment in ready:
                    crowded = experiment.alone or any(e.alone for e in neighbours)
                    if not neighbours or not crowded:
                        self._taken[experiment.key] = (experiment, gpu)
                        return experiment
                if not ready and not self._is_awaited(is_open, records):
                    return None
            time.sleep(_POLL_SECONDS)
        return None

    def _records(self) -> dict[str, Record]:
        return records_of(self.experiments, self.registry.records())

    def _is_open(self, experiment: Experiment, records: Mapping[str, Record]) -> bool:
        closed = experiment.key in self._taken or experiment.key in self._failed
        return not closed and decide(records.get(experiment.key)).run

    def _is_awaited(self, is_open: Sequence[Experiment], records: Mapping[str, Record]) -> bool:
        """Whether one of these experiments needs an experiment that is running."""
        running = {key for key, record in records.items() if record.state == RUNNING}
        return any({*running, *self._taken} & set(missing(e, records)) for e in is_open)

    def _run(self, experiment: Experiment, gpu: str | None) -> None:
        self.say(f"{experiment.name}: started{f' on GPU {gpu}' if gpu else ''}")
        try:
            executable_config(experiment, self._records()).write(experiment.folder)
            record = run_experiment(
                self.registry,
                experiment.name,
                experiment.command,
                config=experiment.config.resolved(),
                gpu=gpu,
                result_file=experiment.result_file,
                stop=self.stop,
                variables=self._threads(experiment, gpu),
                program=os.environ.get("LATENTWIRE_PYTHON", sys.executable),
            )
        except NotDueError:
            self.say(f"{experiment.name}: another worker runs it")
            return
        finally:
            with self._lock:
                del self._taken[experiment.key]
        if record.state == FAILED:
            self._failed.add(experiment.key)
        n, records = len(self.experiments), self._records()
        n_left = sum(1 for e in self.experiments if _is_left(records.get(e.key)))
        self.say(f"{experiment.name}: {outcome(record)}  ({n_left} of {n} left)")
        if record.state == COMPLETED and self.on_completed:
            self.on_completed()

    def _threads(self, experiment: Experiment, gpu: str | None) -> dict[str, str]:
        """Variables that give it its share of the cores, unless the user set OMP_NUM_THREADS."""
        if "OMP_NUM_THREADS" in os.environ:
            return {}
        n_sharing = 1 if experiment.alone and gpu is None else self._n_slots
        return {"OMP_NUM_THREADS": str(max(1, n_cores() // n_sharing))}


def missing(experiment: Experiment, records: Mapping[str, Record]) -> list[str]:
    """Keys of the experiments that this one needs and that are not completed."""
    done = {key for key, record in records.items() if record.state == COMPLETED}
    return [key for key in experiment.needs if key not in done]


def n_cores() -> int:
    """Number of cores that this process may use; a job often has only some of the node's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _is_left(record: Record | None) -> bool:
    return record is None or record.state == RUNNING or is_due(record)
