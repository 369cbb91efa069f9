"""Plug-in tables: classes by name, registered by decorator or entry point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import Generic, TypeVar

from latentwire.core.errors import ConfigError, UnknownNameError

T = TypeVar("T")


class Catalogue(Generic[T]):
    """A table of named classes, filled on first use.

    Args:
        what: Noun for one entry in messages, e.g. `bridge`.
        package: Package whose modules register the built-in entries; None if there are none.
        groups: Entry-point groups through which installed packages add entries.
        name_attribute: Class attribute that is set to the registered name; "" sets none.
        required: Class attributes that every entry must define.
    """

    def __init__(
        self,
        what: str,
        package: str | None,
        *groups: str,
        name_attribute: str = "",
        required: Sequence[str] = (),
    ) -> None:
        self._what = what
        self._package = package
        self._groups = groups
        self._name_attribute, self._required = name_attribute, required
        self._entries: dict[str, T] = {}
        self._filled = False

    def add(self, name: str) -> Callable[[T], T]:
        """Return a class decorator that registers its class as `name` (lower case, unique).

        Raises: ConfigError: If the name is taken, or the class lacks a required attribute.
        """

        def register(entry: T) -> T:
            self._check(name, entry)
            if self._name_attribute:
                setattr(entry, self._name_attribute, name)
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

    def _check(self, name: str, entry: T) -> None:
        """Raise ConfigError unless an entry can be registered under a name."""
        place = f"{entry.__module__}.{getattr(entry, '__qualname__', entry)}"
        other = self._entries.get(name, entry)
        if other is not entry:
            raise ConfigError(
                f"{self._what} '{name}' is registered twice: by {place} and by "
                f"{other.__module__}.{getattr(other, '__qualname__', other)}. Rename one of them."
            )
        own = vars(entry).get(self._name_attribute, name) if self._name_attribute else name
        if own != name:
            raise ConfigError(
                f"{self._what} '{name}': {place} has {self._name_attribute} = '{own}'. Leave it "
                "out: it is set to the registered name."
            )
        if missing := [each for each in self._required if not hasattr(entry, each)]:
            raise ConfigError(
                f"{self._what} '{name}': {place} must define {', '.join(missing)} as class "
                "attributes."
            )

    def _fill(self) -> None:
        if self._filled:
            return
        self._filled = True
        if self._package is not None:
            for module in iter_modules(import_module(self._package).__path__):
                import_module(f"{self._package}.{module.name}")
        for group in self._groups:
            for point in entry_points(group=group):
                try:
                    entry = point.load()
                except Exception as error:  # whatever the module of another package raises
                    package = point.dist.name if point.dist else "unknown"
                    raise ConfigError(
                        f"The entry point '{point.name} = {point.value}' of package {package} "
                        f"(group {group}) cannot be loaded: {type(error).__name__}: {error}. Fix "
                        "or uninstall the package."
                    ) from error
                self.add(point.name)(entry)
