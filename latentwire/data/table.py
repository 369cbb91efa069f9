"""Table of all tasks with their sizes and data sources, for `latentwire tasks`."""

from __future__ import annotations

from dataclasses import dataclass

from latentwire.core.errors import LatentWireError
from latentwire.data.load import load_task, task_names
from latentwire.data.spec import SPLITS, Kind, SplitName
from latentwire.data.task import Task


@dataclass(frozen=True)
class TaskRow:
    """One row of the table.

    Attributes:
        name: Name of the task.
        kind: `choice`, `letter` or `generation`.
        metric: Primary metric.
        chance: Score of a uniform guess, 0..1; None if it depends on missing data.
        sizes: Number of examples per split; None where data is missing.
        found: Whether the data is on this machine.
        hub: Id and configuration of the data set on the hub; None if it is not on the hub.
        source: Where the data is, or how to get it.
    """

    name: str
    kind: Kind
    metric: str
    chance: float | None
    sizes: dict[SplitName, int | None]
    found: bool
    hub: str | None
    source: str


def task_table() -> list[TaskRow]:
    """Return one row per task. Only local data is read; the hub is not contacted."""
    return [_row(load_task(name)) for name in task_names()]


def _row(task: Task) -> TaskRow:
    sizes: dict[SplitName, int | None] = dict.fromkeys(SPLITS)
    try:
        found, source = task.where()
        if found:
            sizes = task.sizes()
    except LatentWireError as error:  # one unreadable data set must not hide the others
        found, source = False, str(error)
    known = found and sizes["test"] is not None
    chance = task.chance if known else task.chance_without_data
    hub = " ".join(filter(None, (task.spec.source.hub, task.spec.source.config))) or None
    return TaskRow(task.name, task.kind, task.metric, chance, sizes, found, hub, source)
