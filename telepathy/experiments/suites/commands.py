"""Which options the `latentwire` commands have, and how a mapping becomes their command line."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from latentwire.core.errors import UnknownNameError

Option = bool | int | float | str | list[str]


@dataclass(frozen=True)
class Flags:
    """Options of one command, or of several, by name: `soft_tokens` is `--soft-tokens`.

    Args:
        kinds: What each takes: `flag` nothing, `list` several values, `value` one.
    """

    kinds: dict[str, str]

    @classmethod
    def of(cls, *commands: str) -> Flags:
        """Those of some commands together."""
        return cls({name: kind for each in commands for name, kind in _table()[each].items()})

    def without(self, names: Collection[str]) -> Flags:
        """The rest."""
        return Flags({name: kind for name, kind in self.kinds.items() if name not in names})

    def mistakes(self, key: str, options: Mapping[str, Option]) -> list[str]:
        """What is wrong with options, under the dotted key where they stand."""
        found = []
        for name, value in options.items():
            kind = self.kinds.get(name)
            if kind is None:
                found.append(f"{key}.{name}: {UnknownNameError.of('option', name, self.kinds)}")
            elif (kind == "flag") != isinstance(value, bool):
                takes = "true or false" if kind == "flag" else "a value"
                found.append(f"{key}.{name}: takes {takes}, not {value!r}")
            elif isinstance(value, list) and kind != "list":
                found.append(f"{key}.{name}: takes one value, not {value!r}")
        return found

    def chosen(self, options: Mapping[str, Option]) -> dict[str, Option]:
        """Those of some options that are here."""
        return {name: value for name, value in options.items() if name in self.kinds}

    def line(self, command: str, options: Mapping[str, Any]) -> str:
        """A command line for a shell."""
        words = ["latentwire", *command.split()]
        for name, value in options.items():
            flag = f"--{name.replace('_', '-')}"
            if isinstance(value, bool):
                words += [flag if value else f"--no-{flag[2:]}"]
                continue
            for each in value if isinstance(value, list) else [value]:
                words += [flag, str(each)]
        return shlex.join(words)


def has_command(name: str) -> bool:
    """Whether `latentwire` has a command of that name."""
    return name in _table()


@cache
def _table() -> dict[str, dict[str, str]]:
    """Every command's options, as the command line itself has them."""
    import typer

    from telepathy.cli.main import app

    found: dict[str, dict[str, str]] = {}
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        found[name] = _options(command)
        for inner, each in getattr(command, "commands", {}).items():
            found[f"{name} {inner}"] = _options(each)
    return found


def _options(command: Any) -> dict[str, str]:
    options = [p for p in command.params if p.param_type_name == "option"]
    return {max(p.opts, key=len).lstrip("-").replace("-", "_"): _kind(p) for p in options}


def _kind(parameter: Any) -> str:
    if parameter.is_flag:
        return "flag"
    return "list" if parameter.multiple else "value"
