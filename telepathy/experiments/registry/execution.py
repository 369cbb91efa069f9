"""Run a command as an experiment: claim it, monitor it and record its outcome."""

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

HEARTBEAT_SECONDS = 30.0
_POLL_SECONDS = 0.2
_STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")


class ReceivedSignals:
    """Stop signals that this process has received; forwarded to the runs it monitors."""

    def __init__(self) -> None:
        self.numbers: list[int] = []


@contextmanager
def stop_signals() -> Iterator[ReceivedSignals]:
    """Collect SIGINT, SIGTERM and SIGUSR1 within the block. Main thread only."""
    stop = ReceivedSignals()

    def remember(number: int, _frame: FrameType | None) -> None:
        stop.numbers.append(number)

    numbers = [getattr(signal, name) for name in _STOP_SIGNALS if hasattr(signal, name)]
    before = {number: signal.signal(number, remember) for number in numbers}
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
    stop: ReceivedSignals | None = None,
    heartbeat_s: float = HEARTBEAT_SECONDS,
    variables: Mapping[str, str] | None = None,
    program: str | None = None,
    **budgets: int,
) -> Record:
    """Start a command under the registry and wait for it to end.

    Output goes to `log.txt` in the run folder, whose path the command finds in
    `$LATENTWIRE_RUN_DIR`. Signals are forwarded to the command and its children. A run that ends
    after a signal or with exit code 75 is preempted; any other nonzero exit code is a failure.

    Args:
        registry: Registry that records the run.
        name: Name of the experiment.
        command: Program and arguments.
        config: Configuration of the experiment.
        gpu: Index of the only GPU visible to the command; default: unchanged.
        result_file: JSON file with the results; default: `results.json` in the run folder, if
            written. If given, the command fails unless it writes this file.
        force: Run even if the experiment is completed or has no retries left.
        echo: Copy the log to stderr as it grows.
        stop: Signals received by the main thread; required in other threads.
        heartbeat_s: Seconds between heartbeats.
        variables: Additional environment variables for the command.
        program: Program that is started in place of the command's first word, which is recorded.
        budgets: `max_failures`, `max_preemptions`.
    Returns: The record after the run.
    Raises: NotDueError: If it is running, completed, or has no retries left.
    """
    if stop is None and threading.current_thread() is threading.main_thread():
        with stop_signals() as own:
            return run_experiment(
                registry, name, command, config=config, gpu=gpu, result_file=result_file,
                force=force, echo=echo, stop=own, heartbeat_s=heartbeat_s, variables=variables,
                program=program, **budgets,
            )  # fmt: skip
    stop = stop or ReceivedSignals()
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
                [program or command[0], *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the command once, through this process
            )
    except OSError as error:
        return registry.fail(record, error=f"{command[0]}: {error.strerror}", exit_code=127)
    try:
        code = _watch(child, registry, record, stop, heartbeat_s, log if echo else None, begin)
    except BaseException as error:
        _signal(child, signal.SIGTERM)
        registry.fail(record, error=f"{type(error).__name__}: {error}", log_tail=tail(log, begin))
        raise
    return _record_end(registry, record, code, stop, result_file, tail(log, begin))


def exit_code_of(record: Record) -> int:
    """Exit code for the end of an experiment: 0 completed, 75 preempted, else the command's."""
    if record.state == PREEMPTED:
        return REQUEUE
    return (failure.shell_exit_code(record.exit_code) or 1) if record.state == FAILED else 0


def _watch(
    child: subprocess.Popen[bytes],
    registry: Registry,
    record: Record,
    stop: ReceivedSignals,
    heartbeat_s: float,
    log: Path | None,
    shown: int,
) -> int:
    """Forward signals, send heartbeats and echo the log until a run ends; return its exit code."""
    n_forwarded, last_beat = 0, float("-inf")
    while True:
        try:
            code: int | None = child.wait(timeout=_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        if log:
            shown = _show(log, shown)
        if code is not None:
            return code
        for number in stop.numbers[n_forwarded:]:
            _signal(child, number)
            n_forwarded += 1
        if time.monotonic() - last_beat > heartbeat_s:
            last_beat = time.monotonic()
            try:
                registry.heartbeat(record, child.pid)
            except OSError as error:  # e.g. a full disk; the run continues
                print(
                    f"warning: cannot write the heartbeat of {record.name}: {error}",
                    file=sys.stderr,
                )


def _record_end(
    registry: Registry,
    record: Record,
    code: int,
    stop: ReceivedSignals,
    result_file: str | Path | None,
    log_tail: list[str],
) -> Record:
    folder = registry.folder(record)
    if code == 0:
        file = Path(result_file) if result_file else folder / "results.json"
        try:
            fresh = is_newer(file, folder / "record.json")
            if result_file and not fresh:
                raise DataError(f"The command succeeded but did not write {file}.")
            metrics = metrics_of(file) if fresh else {}
        except DataError as error:
            types, why = ("DataError",), str(error)
            return registry.fail(record, error=why, exit_code=0, log_tail=log_tail, types=types)
        return registry.complete(record, metrics=metrics, result_file=file if fresh else "")
    left = left_error(folder)
    kind, _ = failure.classify(left.get("error", ""), code, log_tail, left.get("types", ()))
    if stop.numbers or kind == failure.PREEMPTED:
        why = f"signal {signal.Signals(stop.numbers[0]).name}" if stop.numbers else ""
        why = why or f"exit code {failure.shell_exit_code(code)}"
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
