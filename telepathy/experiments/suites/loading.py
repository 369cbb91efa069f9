"""Find a suite by name or path, put a scale on it, and check it with all mistakes at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from latentwire.core.errors import ConfigError, UnknownNameError
from latentwire.data import Task, load_task
from latentwire.data.load import read_content
from telepathy.experiments.suites.spec import SuiteSpec

_FOLDER = Path(__file__).parent
FULL = "full"


@dataclass(frozen=True)
class Suite:
    """A checked suite.

    Args:
        spec: What it says, at its scale.
        scale: `full`, or one of its `scales`.
        folder: Where its file is; tasks with a file of their own are found from there.
    """

    spec: SuiteSpec
    scale: str
    folder: Path

    @property
    def prefix(self) -> str:
        """First part of the names of its experiments."""
        prefix = self.spec.prefix or self.spec.name
        return prefix if self.scale == FULL else f"{prefix}-{self.scale}"

    def task(self, name: str) -> Task:
        """One of its tasks."""
        return task_of(name, self.folder)


def suite_names() -> list[str]:
    """Names of the suites that come with the package, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def suite_path(name_or_path: str) -> Path:
    """File of a suite. Raises: UnknownNameError: If no suite has that name."""
    if name_or_path.endswith((".yaml", ".yml")):
        return Path(name_or_path)
    if name_or_path not in suite_names():
        raise UnknownNameError.of("suite", name_or_path, suite_names())
    return _FOLDER / f"{name_or_path}.yaml"


def load_suite(name_or_path: str, scale: str = FULL) -> Suite:
    """Read a suite at one scale.

    Args:
        name_or_path: Name of a suite of the package, or a YAML file.
        scale: `full` is the file as it stands; others are in its `scales`, whose keys replace
            those above.
    Raises:
        UnknownNameError: If there is no such suite or scale.
        DataError: If the file does not exist.
        ConfigError: If it has mistakes, at any of its scales; the message lists all.
    """
    path = suite_path(name_or_path)
    content = read_content(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path} has 1 mistake(s):\n  the file is not a mapping of keys")
    scales = content.pop("scales", None) or {}
    found: dict[str, SuiteSpec | None] = {}
    mistakes: dict[str, None] = {}  # in order, each once
    for name, changes in {FULL: {}, **scales}.items():
        where = "" if name == FULL else f"scales.{name}: "
        if not isinstance(changes, dict):
            mistakes[f"{where}not a mapping of keys to values"] = None
            continue
        found[name], wrong = _checked(_over(content, changes), path.parent)
        mistakes |= {f"{where}{m}": None for m in wrong if m not in mistakes}
    if mistakes:
        listed = "\n".join(f"  {mistake}" for mistake in mistakes)
        raise ConfigError(f"{path} has {len(mistakes)} mistake(s):\n{listed}")
    if scale not in found:
        raise UnknownNameError.of("scale", scale, found)
    spec = found[scale]
    assert spec is not None
    return Suite(spec, scale, path.parent)


def task_of(name: str, folder: Path) -> Task:
    """A task of a suite: a name, or a file beside the suite's."""
    return load_task(folder / name if name.endswith((".yaml", ".yml")) else name)


def checked(model: type[BaseModel], content: Any) -> tuple[Any, list[str]]:
    """Content as a model, or None, and every mistake in a sentence with its dotted key."""
    try:
        return model.model_validate(content), []
    except ValidationError as error:
        return None, list(dict.fromkeys(_sentence(model, dict(e)) for e in error.errors()))


def _checked(content: Any, folder: Path) -> tuple[SuiteSpec | None, list[str]]:
    suite, mistakes = checked(SuiteSpec, content)
    if suite is None:
        return None, mistakes
    return suite, suite.mistakes(partial(task_of, folder=folder))


def _over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The base with changes laid over it, mapping by mapping; null takes a key away."""
    found = dict(base)
    for key, value in changes.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(found.get(key), Mapping):
            found[key] = _over(found[key], value)
        else:
            found[key] = value
    return found


def _sentence(model: type[BaseModel], mistake: dict[str, Any]) -> str:
    location = [str(part) for part in mistake["loc"]]
    choice = [part for part in location if _is_type(part)]
    location = [part for part in location if not _is_type(part)]
    key = ".".join(location)
    if choice:  # of a value with several types, pydantic tells each that it does not have
        return f"{key}: {mistake['input']!r} is not allowed here"
    if mistake["type"] == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        return f"{key}: {UnknownNameError.of('key', location[-1], known)}"
    if mistake["type"] == "missing":
        return f"{key}: missing"
    hint = " (put it in quotes)" if mistake["type"] == "string_type" else ""
    return f"{key}: {mistake['msg']}, not {mistake['input']!r}{hint}"


def _is_type(part: str) -> bool:
    return part in ("bool", "int", "float", "str") or part.startswith(("list[", "literal["))


def _known_keys(model: type[BaseModel], location: list[str]) -> list[str]:
    """Keys of the model at a place inside another; names of sections are skipped on the way."""
    for part in location:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        options = (annotation, *getattr(annotation, "__args__", ()))
        model = next(
            (o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), model
        )
    return list(model.model_fields)
