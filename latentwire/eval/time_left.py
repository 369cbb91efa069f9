"""How far a suite is, and how long the rest of it may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import mean

from latentwire.eval.method import METHODS


class SuiteClock:
    """Tells the time left from what was run.

    A method takes as long as its other seeds did; one that was not run yet as long as the mean of
    its kind, and what is trained is another kind than what is only asked. Nothing is told as long
    as nothing is known of a kind that is left.

    Args:
        names: The method of every unit of work, in order.
        now: Seconds, of any beginning.
    """

    def __init__(self, names: Sequence[str], now: Callable[[], float] = time.monotonic) -> None:
        self._names, self._now = names, now
        self._n_seen = 0
        self._took: dict[str, list[float]] = {}
        self._begun = now()

    def line(self, what: str) -> str:
        """What is begun, its number and the time left."""
        text = f"[{self._n_seen + 1}/{len(self._names)}] {what}"
        left = [self._expected(name) for name in self._names[self._n_seen :]]
        if None in left:
            return text
        return f"{text} (about {sum(filter(None, left)) / 60:.0f} min left for all)"

    def done(self, *, reused: bool) -> None:
        """Count one as done; what was there already says nothing of how long others take."""
        now = self._now()
        if not reused:
            self._took.setdefault(self._names[self._n_seen], []).append(now - self._begun)
        self._n_seen, self._begun = self._n_seen + 1, now

    def _expected(self, name: str) -> float | None:
        """Seconds that a method takes, as far as known."""
        if name in self._took:
            return mean(self._took[name])
        alike = [mean(s) for n, s in self._took.items() if _trained(n) == _trained(name)]
        return mean(alike) if alike else None


def _trained(name: str) -> bool:
    """The bridge's unit of work is the one in which the wire that others share is trained."""
    return name == "bridge" or METHODS.get(name).trained
