"""What `latentwire tasks` shows: every task with its sizes and where its data is."""

from __future__ import annotations

from dataclasses import dataclass

from latentwire.core.errors import LatentWireError
from latentwire.data.load import load_task, task_names
from latentwire.data.spec import SPLITS, Kind, SplitName
from latentwire.data.task import Task


@dataclass(frozen=True)
class TaskRow:
    """One line of the table.

    Attributes:
        name: Name of the task.
        kind: `choice`, `letter` or `generation`.
        metric: Primary metric.
        chance: Score of a uniform guess; None if it depends on data that is not here.
        sizes: Examples per split; None where the data is not here.
        found: True if the data is on this machine.
        hub: Id of the data set on the hub, with its configuration; None if it is not there.
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
    """One row per task; data that is on this machine is read, the hub is not asked."""
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
