"""Name -> class tables: add by decorator, look up by lower-case name, extend by entry points."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import Generic, TypeVar

from latentwire.core.errors import UnknownNameError

T = TypeVar("T")


class Catalogue(Generic[T]):
    """A table of named classes, filled from the files of one package on first use.

    Args:
        what: The word for one entry in messages, e.g. `bridge`.
        package: Package whose modules register the project's own entries.
        groups: Entry-point groups through which installed packages add theirs.
    """

    def __init__(self, what: str, package: str, *groups: str) -> None:
        self._what = what
        self._package = package
        self._groups = groups
        self._entries: dict[str, T] = {}
        self._filled = False

    def add(self, name: str) -> Callable[[T], T]:
        """Class decorator that registers under `name` (lower case, unique)."""

        def register(entry: T) -> T:
            if self._entries.get(name, entry) is not entry:
                raise ValueError(f"{self._what} '{name}' is registered twice")
            self._entries[name] = entry
            return entry

        return register

    def get(self, name: str) -> T:
        """Return the entry called `name`. Raises: UnknownNameError with the nearest name."""
        self._fill()
        try:
            return self._entries[name.strip().lower()]
        except KeyError:
            raise UnknownNameError.of(self._what, name, self._entries) from None

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._fill()
        return sorted(self._entries)

    def _fill(self) -> None:
        if self._filled:
            return
        self._filled = True
        package = import_module(self._package)
        for module in iter_modules(package.__path__):
            import_module(f"{self._package}.{module.name}")
        for group in self._groups:
            for point in entry_points(group=group):
                self.add(point.name)(point.load())
