"""LatentWire: one language model hands what it has read to another, without writing text."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentwire.baselines.evaluate import evaluate
    from latentwire.data import Example, Task, load_task
    from latentwire.errors import LatentWireError
    from latentwire.message import Message
    from latentwire.train import TrainConfig, train_bridge
    from latentwire.wire import Answer, Wire

_HOMES = {
    "Answer": "wire",
    "Example": "data",
    "LatentWireError": "errors",
    "Message": "message",
    "Task": "data",
    "TrainConfig": "train",
    "Wire": "wire",
    "evaluate": "baselines.evaluate",
    "load_task": "data",
    "train_bridge": "train",
}

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "Example",
    "LatentWireError",
    "Message",
    "Task",
    "TrainConfig",
    "Wire",
    "evaluate",
    "load_task",
    "train_bridge",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: importing the package stays instant."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
