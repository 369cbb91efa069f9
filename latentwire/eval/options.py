"""Parse methods with options, e.g. `lora:rank=16,lr=0.001`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from latentwire.core.errors import UnknownNameError, UsageError
from latentwire.eval.method import METHODS, Method, Value

if TYPE_CHECKING:
    from latentwire.eval.context import Context

_SWITCHES = {"true": True, "false": False}


@dataclass(frozen=True)
class MethodSpec:
    """A method and the options it runs with.

    Args:
        method: Class of the method.
        options: Explicitly given options by name.
    """

    method: type[Method]
    options: Mapping[str, Value] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name in files and tables: `lora`, or `lora:rank=16` with options."""
        given = ",".join(f"{name}={value}" for name, value in sorted(self.options.items()))
        return f"{self.method.name}:{given}" if given else self.method.name

    def build(self, context: Context) -> Method:
        """Build the method; the context provides options that are not given explicitly."""
        shared = {k: v for k, v in context.options.items() if k in self.method.options()}
        method = self.method(context, **{**shared, **self.options})
        method.name = self.name
        return method


def parse_method(text: str) -> MethodSpec:
    """Parse a method with options, `name` or `name:option=value,option=value`.

    Raises: UnknownNameError: If there is no such method or option. UsageError: If a value is
        missing or has the wrong type.
    """
    name, _, given = text.partition(":")
    method = METHODS.get(name)
    defaults = method.options()
    options = {}
    for each in filter(None, given.split(",")):
        key, equals, value = (part.strip() for part in each.partition("="))
        if key not in defaults:
            raise UnknownNameError.of(f"'{method.name}' option", key, defaults)
        if not equals:
            raise UsageError(f"Option '{key}' of method '{method.name}' needs a value: {key}=VALUE")
        options[key] = _convert(value, defaults[key], f"Option '{key}' of method '{method.name}'")
    return MethodSpec(method, options)


def split_methods(text: str) -> list[str]:
    """Split a list of methods at commas: `lora:rank=16,lr=0.01,gold` names two methods."""
    found: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if found and "=" in part and ":" not in part:
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


def check_option(name: str) -> None:
    """Check an option that applies to all methods that have it.

    Raises: UnknownNameError: If no method has it.
    """
    known = {option for each in METHODS.names() for option in METHODS.get(each).options()}
    if name not in known:
        raise UnknownNameError.of("option of methods", name, known)


def _convert(text: str, default: Value, what: str) -> Value:
    """Convert text to the type of an option's default."""
    if isinstance(default, bool):
        if text.lower() not in _SWITCHES:
            raise UsageError(f"{what} is '{text}'; it must be true or false.")
        return _SWITCHES[text.lower()]
    try:
        value = type(default)(text)
    except ValueError:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise UsageError(f"{what} is '{text}'; it must be {kind}.") from None
    if "/" in text:
        raise UsageError(f"{what} is '{text}'; the value must not contain '/'.")
    return value
