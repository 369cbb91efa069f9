"""Plug-in tables: classes by name, registered by decorator or entry point."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import Generic, TypeVar

from latentwire.core.errors import UnknownNameError

T = TypeVar("T")


class Catalogue(Generic[T]):
    """A table of named classes, filled on first use.

    Args:
        what: Noun for one entry in messages, e.g. `bridge`.
        package: Package whose modules register the built-in entries; None if there are none.
        groups: Entry-point groups through which installed packages add entries.
    """

    def __init__(self, what: str, package: str | None, *groups: str) -> None:
        self._what = what
        self._package = package
        self._groups = groups
        self._entries: dict[str, T] = {}
        self._filled = False

    def add(self, name: str) -> Callable[[T], T]:
        """Return a class decorator that registers its class as `name` (lower case, unique)."""

        def register(entry: T) -> T:
            if self._entries.get(name, entry) is not entry:
                raise ValueError(f"{self._what} '{name}' is registered twice")
            self._entries[name] = entry
            return entry

        return register

    def get(self, name: str) -> T:
        """Return the entry called `name`, in any case.

        Raises: UnknownNameError: If there is none; the message suggests a similar name.
        """
        entry = self.find(name)
        if entry is None:
            raise UnknownNameError.of(self._what, name, self._entries)
        return entry

    def find(self, name: str) -> T | None:
        """Return the entry called `name`, in any case, or None."""
        self._fill()
        return self._entries.get(name.strip().lower())

    def names(self) -> list[str]:
        """Return all registered names, sorted."""
        self._fill()
        return sorted(self._entries)

    def _fill(self) -> None:
        if self._filled:
            return
        self._filled = True
        if self._package is not None:
            for module in iter_modules(import_module(self._package).__path__):
                import_module(f"{self._package}.{module.name}")
        for group in self._groups:
            for point in entry_points(group=group):
                self.add(point.name)(point.load())
