"""Frozen language models: the only package of LatentWire that imports transformers.

Names are loaded on first use, so that `latentwire.models.zoo` can be imported without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentwire.models.lm import MESSAGE_MARK, LanguageModel, Prompt
    from latentwire.models.loading import load_model, load_pair
    from latentwire.models.receiver import Receiver
    from latentwire.models.sender import Sender, SenderStates
    from latentwire.models.zoo import EMBEDDED, PAIRS, resolve_pair

_HOMES = {
    "EMBEDDED": "zoo",
    "MESSAGE_MARK": "lm",
    "PAIRS": "zoo",
    "LanguageModel": "lm",
    "Prompt": "lm",
    "Receiver": "receiver",
    "Sender": "sender",
    "SenderStates": "sender",
    "load_model": "loading",
    "load_pair": "loading",
    "resolve_pair": "zoo",
}

__all__ = [
    "EMBEDDED",
    "MESSAGE_MARK",
    "PAIRS",
    "LanguageModel",
    "Prompt",
    "Receiver",
    "Sender",
    "SenderStates",
    "load_model",
    "load_pair",
    "resolve_pair",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
