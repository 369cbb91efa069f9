"""What a wire is beside its models and its weights, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from latentwire.core.errors import UnknownNameError, UsageError
from latentwire.data import Task
from latentwire.data.metrics import Response
from latentwire.data.spec import Setting
from latentwire.prompting.builder import SENDER_PROMPTS
from latentwire.wire.codecs import CODECS


@dataclass(frozen=True)
class WireSpec:
    """What makes two wires of one pair differ.

    Args:
        bridge: Kind of bridge.
        soft_tokens: Length of a message.
        layers: Sender layers the bridge reads.
        sender_prompt: `raw`: the sender reads the text alone; `aware`: the text and the task.
        setting: What the sender reads and what the receiver is asked (`Task.setting`); None
            leaves it to the task.
        max_tokens: Longest text in sender tokens; None leaves it to the task.
        prompt: What the receiver reads, with the place `{context}` for the message; in the setting
            `shared`, where the message stands before it, `{question}` will do. None leaves it
            to the warm start of the training, else it is the task's first.
        codec: How a message is written, one of `CODECS`.
        options: Options of the bridge's kind.
    Raises: UsageError: If a word is not one of those, or the prompt has no place for the message.
    """

    bridge: str
    soft_tokens: int
    layers: tuple[int, ...]
    sender_prompt: str = "raw"
    setting: Setting | None = None
    max_tokens: int | None = None
    prompt: str | None = None
    codec: str = "fp16"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.sender_prompt not in SENDER_PROMPTS:
            raise UsageError(
                f"Unknown sender prompt '{self.sender_prompt}'. Known: {', '.join(SENDER_PROMPTS)}."
            )
        if self.codec not in CODECS:
            raise UnknownNameError.of("codec", self.codec, CODECS)
        # In the setting `shared` the message stands before the prompt, which has to ask something.
        places = ("{context}", "{question}") if self.setting == "shared" else ("{context}",)
        if self.prompt is not None and not any(place in self.prompt for place in places):
            raise UsageError(
                f"The receiver's prompt {self.prompt!r} has no place for the message: write "
                f"{' or '.join(places)} where it shall stand."
            )


@dataclass(frozen=True)
class Answer:
    """What the receiver answers.

    Args:
        label: The best choice, or the text that the receiver wrote.
        scores: Probability of every choice among the choices, in the task's order; none for a
            written answer.
        truncated: Whether the text was longer than the sender reads.
    """

    label: str
    scores: dict[str, float]
    truncated: bool

    @classmethod
    def of(cls, response: Response, task: Task, truncated: bool) -> Answer:
        """What a response means in words of its task."""
        if response.text is not None:
            return cls(response.text, {}, truncated)
        shares = torch.tensor(response.scores).softmax(-1).tolist()
        best = max(range(len(shares)), key=shares.__getitem__)
        return cls(task.labels[best], dict(zip(task.labels, shares)), truncated)
