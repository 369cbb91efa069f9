"""Turn signals into stop requests, which the training loop checks between steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from latentwire.core.errors import InterruptedRunError, RequeueError

NO_STOP, USER_STOP, REQUEUE_STOP = 0, 1, 2


class StopRequest:
    """Whether this process should stop. Call it to check.

    Attributes:
        kind: `NO_STOP`, `USER_STOP` (SIGINT), or `REQUEUE_STOP` (a scheduler's signal).
    """

    def __init__(self) -> None:
        self.kind = NO_STOP

    def __call__(self) -> bool:
        return self.kind != NO_STOP


@contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and SIGUSR1 into a stop request inside the block.

    The first signal determines the kind; later signals from a scheduler have no effect. A second
    SIGINT raises KeyboardInterrupt. Outside the main thread, no signal is caught.
    """
    request = StopRequest()
    kinds = {signal.SIGINT: USER_STOP, signal.SIGTERM: REQUEUE_STOP}
    if hasattr(signal, "SIGUSR1"):  # missing on Windows
        kinds[signal.SIGUSR1] = REQUEUE_STOP

    def handle(number: int, _frame: object) -> None:
        if request() and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.kind = request.kind or kinds[signal.Signals(number)]

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, handle) for number in kinds}
    try:
        yield request
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def stop_error(kind: int, message: str) -> InterruptedRunError:
    """Error that ends a stopped run, with the exit code for the kind of stop request."""
    return RequeueError(message) if kind == REQUEUE_STOP else InterruptedRunError(message)
