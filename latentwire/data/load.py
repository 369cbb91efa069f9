"""Load a task by name, alias or path, and report all mistakes in its YAML file."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from latentwire.core.errors import ConfigError, DataError, UnknownNameError
from latentwire.data.spec import TaskSpec
from latentwire.data.task import Task

_FOLDER = Path(__file__).parent / "tasks"


def load_task(name_or_path: str | Path) -> Task:
    """Return a task by name, alias or path of a YAML file, without reading its data.

    Raises:
        UnknownNameError: If there is no task of that name; the message suggests the nearest.
        ConfigError: If the YAML file has mistakes; the message lists all of them.
        DataError: If the path does not exist.
    """
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")):
        path = Path(text)
        return Task(read_spec(path), path.parent)
    name = text.strip().lower()
    if not (_FOLDER / f"{name}.yaml").is_file() or "/" in name:
        try:
            name = _aliases()[name]
        except KeyError:
            raise UnknownNameError.of("task", text, task_names()) from None
    return Task(read_spec(_FOLDER / f"{name}.yaml"))


def task_names() -> list[str]:
    """Return the names of the built-in tasks, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def read_spec(path: Path) -> TaskSpec:
    """Read and validate one task file.

    Raises:
        DataError: If the file does not exist.
        ConfigError: If it is not YAML or has mistakes; all are listed with dotted keys.
    """
    spec, mistakes = check_spec(read_content(path))
    if spec is None or mistakes:
        listed = "\n".join(f"  {mistake}" for mistake in mistakes)
        raise ConfigError(f"{path} has {len(mistakes)} mistake(s):\n{listed}")
    return spec


def read_content(path: Path) -> Any:
    """Return the content of a YAML file. Raises: DataError or ConfigError, as `read_spec`."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"Cannot read the task file {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error


def check_spec(content: Any) -> tuple[TaskSpec | None, list[str]]:
    """Return the validated spec, or None, and all mistakes in the content of a task file."""
    if not isinstance(content, dict):
        return None, ["the file must be a mapping of keys to values"]
    try:
        spec = TaskSpec.model_validate(content)
    except ValidationError as error:
        return None, [_sentence(dict(mistake)) for mistake in error.errors()]
    return spec, spec.mistakes()


def _sentence(mistake: dict[str, Any]) -> str:
    location = tuple(mistake["loc"])
    key = ".".join(str(part) for part in location if part != "[key]")
    if mistake["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        return f"{key}: {UnknownNameError.of('key', str(location[-1]), known)}"
    if mistake["type"] == "missing":
        return f"{key}: missing"
    # Without quotes, YAML reads yes, no and 1 as booleans and numbers.
    hint = " (put it in quotes)" if mistake["type"] == "string_type" else ""
    return f"{key}: {mistake['msg']}, not {mistake['input']!r}{hint}"


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = TaskSpec
    for part in location:
        annotation = model.model_fields[part].annotation
        options = (annotation, *getattr(annotation, "__args__", ()))
        model = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return list(model.model_fields)


@cache
def _aliases() -> dict[str, str]:
    contents = {
        name: yaml.safe_load((_FOLDER / f"{name}.yaml").read_text()) for name in task_names()
    }
    return {alias: name for name, content in contents.items() for alias in content["aliases"]}
