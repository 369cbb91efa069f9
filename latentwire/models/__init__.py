"""Frozen language models: the only part of LatentWire that imports transformers."""

from latentwire.models.lm import MESSAGE_MARK, LanguageModel, Prompt
from latentwire.models.loading import load_model
from latentwire.models.receiver import Receiver
from latentwire.models.sender import Sender, SenderStates
from latentwire.models.zoo import EMBEDDED, PAIRS, resolve_pair

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
    "resolve_pair",
]
