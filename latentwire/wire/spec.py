"""Options of a wire, and its answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from latentwire.core.errors import UsageError
from latentwire.data.spec import Setting
from latentwire.prompting.builder import SENDER_PROMPTS
from latentwire.wire.codecs import CODECS


@dataclass(frozen=True)
class WireSpec:
    """Options in which two wires of one pair differ.

    Args:
        bridge: Name of the bridge.
        soft_tokens: Number k of soft tokens in a message.
        layers: Sender layers that the bridge reads.
        sender_prompt: `raw`: the sender reads the text alone; `aware`: the text and the task.
        setting: What the sender reads and what the receiver is asked (`Task.setting`). None: the
            task's default.
        max_tokens: Longest text in sender tokens. None: the task's limit.
        prompt: Prompt of the receiver, with the place `{context}` for the message. In the setting
            `shared` the message stands before the prompt, so `{question}` is enough. None: the
            prompt that training chooses, else the task's first.
        codec: Name of the codec of messages, see `CODECS`.
        options: Options of the bridge.
    Raises: UsageError: If a name is unknown, or the prompt has no place for the message.
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
        CODECS.get(self.codec)
        places = ("{context}", "{question}") if self.setting == "shared" else ("{context}",)
        if self.prompt is not None and not any(place in self.prompt for place in places):
            raise UsageError(
                f"The receiver's prompt {self.prompt!r} has no place for the message: write "
                f"{' or '.join(places)} where it should stand."
            )


@dataclass(frozen=True)
class Answer:
    """Answer of a receiver.

    Args:
        label: The best choice, or the text that the receiver wrote.
        scores: Probability of each choice among the choices, in their order; empty for a written
            answer.
        truncated: Whether the text was longer than the sender reads. None if that is not known,
            because the message came as bytes.
    """

    label: str
    scores: dict[str, float]
    truncated: bool | None = None
