"""Tasks: each YAML file defines the prompts, scoring and data of one task.

Names are loaded on first use, so that importing this package is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentwire.data.check import check_task
    from latentwire.data.example import Example
    from latentwire.data.load import load_task, task_names
    from latentwire.data.table import TaskRow, task_table
    from latentwire.data.task import Task

_HOMES = {
    "Example": "example",
    "Task": "task",
    "TaskRow": "table",
    "check_task": "check",
    "load_task": "load",
    "task_names": "load",
    "task_table": "table",
}

__all__ = [
    "Example",
    "Task",
    "TaskRow",
    "check_task",
    "load_task",
    "task_names",
    "task_table",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
