"""Signals become a question that the loop asks between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from latentwire.core.errors import InterruptedRunError, RequeueError

NO_STOP, USER_STOP, REQUEUE_STOP = 0, 1, 2


class StopRequest:
    """Whether, and by whom, this process was asked to stop. Calling it gives the answer."""

    def __init__(self) -> None:
        self.kind = NO_STOP

    def __call__(self) -> bool:
        return self.kind != NO_STOP


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Catch SIGINT, SIGTERM and SIGUSR1 inside the block; the first one counts.

    A scheduler that sends several signals in a row does no harm; a second SIGINT kills. Signals
    reach the main thread only: elsewhere nothing is ever asked.
    """
    request = StopRequest()
    kinds = {signal.SIGINT: USER_STOP, signal.SIGTERM: REQUEUE_STOP}
    if hasattr(signal, "SIGUSR1"):  # Windows has none
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


def stopped(kind: int, message: str) -> InterruptedRunError:
    """The error that ends a run which was asked to stop: its exit code says who asked."""
    return RequeueError(message) if kind == REQUEUE_STOP else InterruptedRunError(message)
