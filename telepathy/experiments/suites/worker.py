"""Runs a suite's experiments on one machine: each slot takes the next one that is due."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from telepathy.experiments.registry import NotDueError, Record, Registry
from telepathy.experiments.registry.execution import ReceivedSignals, run_experiment
from telepathy.experiments.registry.record import COMPLETED, FAILED, RUNNING
from telepathy.experiments.registry.scheduling import decide, is_due
from telepathy.experiments.suites.expansion import Experiment
from telepathy.experiments.suites.slots import n_cores
from telepathy.experiments.suites.summary import outcome

_LOOK_SECONDS = 1.0


class Worker:
    """Pulls from the registry, so any number of workers on any machines share one suite.

    What failed here is not tried again by this worker: the next submission does, while the
    experiment's budget lasts. What was preempted by itself is. What measures time has its GPU for
    itself, or without GPUs the machine, as far as this worker decides.

    Args:
        registry: Where claims are made and ends written down.
        experiments: The suite, in the order of the work.
        stop: Signals that this process got: no experiment is begun after one.
        say: Told of each begin and end.
        completed: Called behind each experiment that is completed, in its thread.
    """

    def __init__(
        self,
        registry: Registry,
        experiments: Sequence[Experiment],
        stop: ReceivedSignals,
        say: Callable[[str], None],
        completed: Callable[[], None] | None = None,
    ) -> None:
        self.registry, self.experiments = registry, list(experiments)
        self.stop, self.say, self.completed = stop, say, completed
        self._lock = threading.Lock()
        self._taken: dict[str, tuple[Experiment, str | None]] = {}
        self._tried: set[str] = set()
        self._errors: list[BaseException] = []
        self._n_slots = 1

    def run(self, slots: Sequence[str | None]) -> None:
        """Work until nothing is left that could be begun here, or a signal came.

        Args:
            slots: One for each experiment that runs at a time: the number of its GPU, or None.
        Raises: Whatever one of the slots met that is no end of an experiment.
        """
        self._n_slots = len(slots)
        threads = [threading.Thread(target=self._slot, args=[gpu], daemon=True) for gpu in slots]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # a wait without end would keep signals from this thread
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
        """The next experiment that is due; waits while one may become due here."""
        while not self.stop.numbers and not self._errors:
            with self._lock:
                records = {record.key: record for record in self.registry.records()}
                is_open = [e for e in self.experiments if self._is_open(e, records)]
                ready = [e for e in is_open if not missing(e, records)]
                beside = [e for e, place in self._taken.values() if place == gpu]
                for experiment in ready:
                    if not beside or not (experiment.alone or any(e.alone for e in beside)):
                        self._taken[experiment.key] = (experiment, gpu)
                        return experiment
                if not ready and not self._is_awaited(is_open, records):
                    return None
            time.sleep(_LOOK_SECONDS)
        return None

    def _is_open(self, experiment: Experiment, records: Mapping[str, Record]) -> bool:
        apart = experiment.key in self._taken or experiment.key in self._tried
        return not apart and decide(records.get(experiment.key)).run

    def _is_awaited(self, is_open: Sequence[Experiment], records: Mapping[str, Record]) -> bool:
        """Whether one that runs is what one of these needs."""
        running = {key for key, record in records.items() if record.state == RUNNING}
        return any({*running, *self._taken} & set(missing(e, records)) for e in is_open)

    def _run(self, experiment: Experiment, gpu: str | None) -> None:
        self.say(f"{experiment.name}: begins{f' on GPU {gpu}' if gpu else ''}")
        try:
            record = run_experiment(
                self.registry,
                experiment.name,
                experiment.command,
                config=experiment.config,
                gpu=gpu,
                result_file=experiment.result_file,
                stop=self.stop,
                variables=self._threads(experiment, gpu),
            )
        except NotDueError:
            self.say(f"{experiment.name}: another worker has it")
            return
        finally:
            with self._lock:
                del self._taken[experiment.key]
        if record.state == FAILED:
            self._tried.add(experiment.key)
        n_left = sum(1 for e in self.experiments if self._is_left(e))
        n = len(self.experiments)
        self.say(f"{experiment.name}: {outcome(record)}  ({n_left} of {n} left)")
        if record.state == COMPLETED and self.completed:
            self.completed()

    def _threads(self, experiment: Experiment, gpu: str | None) -> dict[str, str]:
        """Its share of the cores, unless the user has said how many threads there shall be."""
        if "OMP_NUM_THREADS" in os.environ:
            return {}
        n_beside = 1 if experiment.alone and gpu is None else self._n_slots
        return {"OMP_NUM_THREADS": str(max(1, n_cores() // n_beside))}

    def _is_left(self, experiment: Experiment) -> bool:
        record = self.registry.store.get(experiment.key)
        return record is None or record.state == RUNNING or is_due(record)


def missing(experiment: Experiment, records: Mapping[str, Record]) -> list[str]:
    """Keys of what an experiment needs that is not completed."""
    done = {key for key, record in records.items() if record.state == COMPLETED}
    return [key for key in experiment.needs if key not in done]
