"""LatentWire: one language model hands what it has read to another, without writing text."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentwire.core.errors import LatentWireError
    from latentwire.data import Example, Task, load_task
    from latentwire.eval.evaluate import evaluate
    from latentwire.train import TrainConfig, train_bridge
    from latentwire.wire.decoder import Decoder
    from latentwire.wire.encoder import Encoder, send_to_all
    from latentwire.wire.message import Message
    from latentwire.wire.spec import Answer
    from latentwire.wire.wire import Wire

_HOMES = {
    "Answer": "wire.spec",
    "Decoder": "wire.decoder",
    "Encoder": "wire.encoder",
    "Example": "data",
    "LatentWireError": "core.errors",
    "Message": "wire.message",
    "Task": "data",
    "TrainConfig": "train",
    "Wire": "wire.wire",
    "evaluate": "eval.evaluate",
    "load_task": "data",
    "send_to_all": "wire.encoder",
    "train_bridge": "train",
}

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "Decoder",
    "Encoder",
    "Example",
    "LatentWireError",
    "Message",
    "Task",
    "TrainConfig",
    "Wire",
    "evaluate",
    "load_task",
    "send_to_all",
    "train_bridge",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: importing the package stays instant."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
