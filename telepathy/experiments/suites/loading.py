"""Find a suite by name or path, apply a scale, and report all mistakes at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentwire.core.errors import UnknownNameError
from latentwire.data import Task, load_task
from telepathy.experiments.suites.checks import mistakes_in
from telepathy.experiments.suites.spec import SuiteSpec
from telepathy.experiments.validation import file_error, merged, read_yaml, validated

_FOLDER = Path(__file__).parent
FULL = "full"


@dataclass(frozen=True)
class Suite:
    """A suite without mistakes.

    Args:
        spec: Content of its file at the scale.
        scale: `full`, or one of the file's `scales`.
        folder: Folder of the file; paths of task files are relative to it.
    """

    spec: SuiteSpec
    scale: str
    folder: Path

    @property
    def prefix(self) -> str:
        """First part of the names of its experiments."""
        prefix = self.spec.prefix or self.spec.name
        return prefix if self.scale == FULL else f"{prefix}-{self.scale}"

    def task_file(self, name: str) -> Path | None:
        """YAML file of one of its tasks; None for a named task."""
        return self.folder / name if name.endswith((".yaml", ".yml")) else None

    def task(self, name: str) -> Task:
        """One of its tasks."""
        return load_task(self.task_file(name) or name)


def suite_names() -> list[str]:
    """Names of the suites in the package, sorted."""
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
        name_or_path: Name of a suite in the package, or a YAML file.
        scale: `full` is the file without its `scales`; the keys of any other scale replace those
            of the file.
    Raises:
        UnknownNameError: If the suite or the scale does not exist.
        DataError: If the file does not exist.
        ConfigError: If the file has mistakes at any scale; the message lists all of them.
    """
    path = suite_path(name_or_path)
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise file_error(path, ["the file is not a mapping of keys"])
    scales = content.pop("scales", None) or {}
    found: dict[str, SuiteSpec | None] = {}
    mistakes: dict[str, None] = {}  # an ordered set
    for name, changes in {FULL: {}, **scales}.items():
        where = "" if name == FULL else f"scales.{name}: "
        if not isinstance(changes, dict):
            mistakes[f"{where}not a mapping of keys to values"] = None
            continue
        found[name], wrong = _checked(
            merged(content, changes, null_removes=True), name, path.parent
        )
        mistakes |= {f"{where}{m}": None for m in wrong if m not in mistakes}
    if mistakes:
        raise file_error(path, list(mistakes))
    if scale not in found:
        raise UnknownNameError.of("scale", scale, found)
    spec = found[scale]
    assert spec is not None
    return Suite(spec, scale, path.parent)


def _checked(content: Any, scale: str, folder: Path) -> tuple[SuiteSpec | None, list[str]]:
    spec, mistakes = validated(SuiteSpec, content)
    if spec is None:
        return None, [f"{key}: {message}" for key, message in mistakes.items()]
    return spec, mistakes_in(spec, Suite(spec, scale, folder).task)
