"""Options and answers of a wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from latentwire.core.errors import UsageError
from latentwire.data.spec import Setting
from latentwire.prompting.builder import SENDER_PROMPTS
from latentwire.wire.codecs import CODECS


@dataclass(frozen=True)
class WireSpec:
    """Options of a wire.

    Args:
        bridge: Name of the bridge.
        soft_tokens: Number k of soft tokens in a message.
        layers: Sender layers that the bridge reads.
        sender_prompt: `raw`: the sender reads the text alone; `aware`: the text and the task.
        setting: `blind`, `split` or `shared`, see `Task.setting`. None: the task's default.
        max_tokens: Maximum text length in sender tokens. None: the task's limit.
        prompt: Prompt of the receiver, with the placeholder `{context}` for the message. In the
            setting `shared` the message precedes the prompt, so `{question}` is enough. None: the
            prompt chosen by training, or the task's first.
        codec: Name of the message codec, see `CODECS`.
        options: Options of the bridge.
    Raises: UsageError: If a name is unknown, or the prompt has no placeholder for the message.
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
                f"The receiver's prompt {self.prompt!r} has no placeholder for the message: add "
                f"{' or '.join(places)}."
            )


@dataclass(frozen=True)
class Answer:
    """Answer of the receiver.

    Args:
        label: Best choice, or the written answer.
        scores: Probability of each choice, in their order; empty for a written answer.
        truncated: Whether the text was truncated for the sender. None if the message came as bytes,
            which do not store it.
    """

    label: str
    scores: dict[str, float]
    truncated: bool | None = None
