"""Run one command as an experiment: claimed, watched, and written down however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from latentwire.core.errors import REQUEUE, DataError
from telepathy.experiments.registry import failure
from telepathy.experiments.registry.outputs import is_newer, left_error, metrics_of, tail
from telepathy.experiments.registry.record import FAILED, PREEMPTED, Record
from telepathy.experiments.registry.registry import Registry

BEAT_SECONDS = 30.0
_LOOK_SECONDS = 0.2
_STOPS = ("SIGINT", "SIGTERM", "SIGUSR1")


class Stop:
    """The signals that this process got so far, to be handed on to the runs it watches."""

    def __init__(self) -> None:
        self.numbers: list[int] = []


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Collect SIGINT, SIGTERM and SIGUSR1 inside the block; for the main thread only."""
    stop = Stop()

    def note(number: int, _frame: FrameType | None) -> None:
        stop.numbers.append(number)

    numbers = [getattr(signal, name) for name in _STOPS if hasattr(signal, name)]
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def run_experiment(
    registry: Registry,
    name: str,
    command: Sequence[str],
    *,
    config: dict[str, Any] | None = None,
    gpu: str | None = None,
    result_file: str | Path | None = None,
    force: bool = False,
    echo: bool = False,
    stop: Stop | None = None,
    beat_seconds: float = BEAT_SECONDS,
    variables: Mapping[str, str] | None = None,
    **budgets: int,
) -> Record:
    """Start a command under the registry and wait for its end.

    The command's output goes to `log.txt` in the run's folder; it finds that folder in
    `$LATENTWIRE_RUN_DIR`. Signals are handed on to it and all its children: a run that stops for
    one, or with exit code 75, is preempted, with any other code but 0 it failed.

    Args:
        registry: Where it is written down.
        name: Of the experiment.
        command: Program and arguments.
        config: What the experiment is, beside its name.
        gpu: The only GPU the command sees; default: those this process sees.
        result_file: JSON with the results; the run's `results.json` if that is there. A file that
            was named and not written anew is a failure.
        force: Run although it is completed or its budget is used up.
        echo: Copy the log to stderr as it grows.
        stop: Signals of the main thread, if this is another one.
        beat_seconds: Time between two heartbeats.
        variables: Of the command's environment, above those of this process.
        budgets: `max_failures`, `max_preemptions`.
    Returns: The record at the end.
    Raises: NotDueError: If it runs already, is completed, or has used up its budget.
    """
    if stop is None and threading.current_thread() is threading.main_thread():
        with stop_signals() as own:
            return run_experiment(
                registry, name, command, config=config, gpu=gpu, result_file=result_file,
                force=force, echo=echo, stop=own, beat_seconds=beat_seconds, variables=variables,
                **budgets,
            )  # fmt: skip
    stop = stop or Stop()
    record = registry.start(name, config, command=command, gpu=gpu, force=force, **budgets)
    folder = registry.folder(record)
    (folder / "error.json").unlink(missing_ok=True)
    log = folder / "log.txt"
    begin = log.stat().st_size if log.exists() else 0
    environment = {**os.environ, **(variables or {}), "LATENTWIRE_RUN_DIR": str(folder.resolve())}
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    try:
        with log.open("ab") as out:
            child = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # a terminal's Ctrl-C comes once, from here
            )
    except OSError as error:
        return registry.fail(record, error=f"{command[0]}: {error.strerror}", exit_code=127)
    try:
        code = _watch(child, registry, record, stop, beat_seconds, log if echo else None, begin)
    except BaseException as error:
        _signal(child, signal.SIGTERM)
        registry.fail(record, error=f"{type(error).__name__}: {error}", log_tail=tail(log, begin))
        raise
    return _write_down(registry, record, code, stop, result_file, tail(log, begin))


def exit_code_of(record: Record) -> int:
    """Exit code that says how an experiment ended: 0, 75 for preempted, else the command's."""
    if record.state == PREEMPTED:
        return REQUEUE
    return (failure.signalled(record.exit_code) or 1) if record.state == FAILED else 0


def _watch(
    child: subprocess.Popen[bytes],
    registry: Registry,
    record: Record,
    stop: Stop,
    beat_seconds: float,
    log: Path | None,
    shown: int,
) -> int:
    """Wait for the end of a run: hand signals on, beat, show the log. Gives its exit code."""
    handed, last_beat = 0, float("-inf")
    while True:
        try:
            code: int | None = child.wait(timeout=_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        if log:
            shown = _show(log, shown)
        if code is not None:
            return code
        for number in stop.numbers[handed:]:
            _signal(child, number)
            handed += 1
        if time.monotonic() - last_beat > beat_seconds:
            last_beat = time.monotonic()
            try:
                registry.heartbeat(record, child.pid)
            except OSError as error:  # a full disk for a while is no reason to end a run
                print(f"warning: no heartbeat of {record.name}: {error}", file=sys.stderr)


def _write_down(
    registry: Registry,
    record: Record,
    code: int,
    stop: Stop,
    result_file: str | Path | None,
    log_tail: list[str],
) -> Record:
    folder = registry.folder(record)
    if code == 0:
        file = Path(result_file) if result_file else folder / "results.json"
        try:
            fresh = is_newer(file, folder / "record.json")
            if result_file and not fresh:
                raise DataError(f"The command ended well and did not write {file}.")
            metrics = metrics_of(file) if fresh else {}
        except DataError as error:
            types, why = ("DataError",), str(error)
            return registry.fail(record, error=why, exit_code=0, log_tail=log_tail, types=types)
        return registry.complete(record, metrics=metrics, result_file=file if fresh else "")
    left = left_error(folder)
    kind, _ = failure.classify(left.get("error", ""), code, log_tail, left.get("types", ()))
    if stop.numbers or kind == failure.PREEMPTED:
        why = f"signal {signal.Signals(stop.numbers[0]).name}" if stop.numbers else ""
        why = why or f"exit code {failure.signalled(code)}"
        return registry.preempt(record, error=why, exit_code=code, log_tail=log_tail)
    return registry.fail(record, exit_code=code, log_tail=log_tail, **left)


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return


def _show(log: Path, shown: int) -> int:
    with log.open("rb") as file:
        file.seek(shown)
        new = file.read()
    sys.stderr.write(new.decode(errors="replace"))
    sys.stderr.flush()
    return shown + len(new)
