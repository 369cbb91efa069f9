"""Progress reports: silent, as lines in a log, or as a bar on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class Progress:
    """Silent progress, the default of all library functions."""

    def say(self, line: str) -> None:
        """Report one line of text."""

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Progress]:
        """Start a task of `total` units, `done` of which are already completed."""
        yield self

    def advance(self, n: int = 1, note: str = "") -> None:
        """Mark `n` more units as completed and show `note`."""


class LineProgress(Progress):
    """Progress as lines of text, for logs and pipes.

    Args:
        out: Stream to write to; default: stderr.
        every_s: Minimum time between lines in seconds.
    """

    def __init__(self, out: TextIO | None = None, every_s: float = 10.0) -> None:
        self._out = out or sys.stderr
        self._every_s = every_s
        self._title, self._total, self._done, self._first = "", 0, 0, 0
        self._started = self._last = 0.0

    def say(self, line: str) -> None:
        print(line, file=self._out, flush=True)

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Progress]:
        inner = LineProgress(self._out, self._every_s)
        inner._title, inner._total, inner._done, inner._first = title, total, done, done
        inner._started = inner._last = time.monotonic()
        yield inner

    def advance(self, n: int = 1, note: str = "") -> None:
        self._done += n
        now = time.monotonic()
        if now - self._last < self._every_s:
            return
        self._last = now
        rate = max(self._done - self._first, 1e-9) / max(now - self._started, 1e-9)
        eta = (self._total - self._done) / rate
        self.say(f"{self._title}: {self._done}/{self._total}, {eta:.0f} s left {note}".rstrip())


class RichProgress(Progress):
    """Progress as a bar with the remaining time."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
        self._bars: list[tuple[object, object]] = []

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False)

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Progress]:
        from rich import progress as bars

        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeElapsedColumn(),
            bars.TimeRemainingColumn(),
            bars.TextColumn("{task.fields[note]}"),
        )
        # rich allows one live display at a time, so a task inside another one is silent.
        if self._bars:
            yield Progress()
            return
        with bars.Progress(*columns, console=self._console, transient=True) as bar:
            entry = bar.add_task(title, total=total, completed=done, note="")
            self._bars.append((bar, entry))
            try:
                yield self
            finally:
                self._bars.pop()

    def advance(self, n: int = 1, note: str = "") -> None:
        if self._bars:
            bar, entry = self._bars[-1]
            bar.update(entry, advance=n, note=note)  # type: ignore[attr-defined]


class PartProgress(Progress):
    """Report progress on one part of a larger task, with the remaining time of the whole task.

    Args:
        whole: Progress of the whole task.
        before: Number of units in the parts before this one.
        size: Number of units in this part.
        total: Number of units in all parts.
    """

    def __init__(self, whole: Progress, before: int, size: int, total: int) -> None:
        self._whole, self._before, self._size, self._total = whole, before, size, total

    def say(self, line: str) -> None:
        self._whole.say(line)

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Progress]:
        each = total / self._size  # a unit may consist of several steps
        before, all_of_them = round(each * self._before), round(each * self._total)
        with self._whole.task(title, all_of_them, before + done) as inner:
            yield inner


def default_progress() -> Progress:
    """Return a progress bar if stderr is a terminal, else lines of text."""
    return RichProgress() if sys.stderr.isatty() else LineProgress()
