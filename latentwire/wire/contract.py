"""What the two halves of a wire agree on. A run stores it, so that either half works alone."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from latentwire.core.errors import UsageError
from latentwire.data import Task
from latentwire.models import LanguageModel
from latentwire.wire.basis import Basis
from latentwire.wire.codecs import CODECS
from latentwire.wire.header import LIMITS, Limits
from latentwire.wire.spec import WireSpec

T = TypeVar("T")


@dataclass(frozen=True)
class ModelIdentity:
    """Name and fingerprint of a model. Its text, `name@fingerprint`, is what messages carry.

    Args:
        name: Name that the model was loaded by: embedded name, folder, file or hub id.
        fingerprint: 16 hex digits that identify weights and tokenizer.
    """

    name: str
    fingerprint: str

    @classmethod
    def of(cls, lm: LanguageModel) -> ModelIdentity:
        """Return the identity of a loaded model."""
        return cls(lm.name, lm.fingerprint)

    def __str__(self) -> str:
        # Messages do not reveal in which folder a local model is stored.
        name = self.name if self.name.count("/") == 1 else re.split(r"[/\\]", self.name)[-1]
        return f"{re.sub('[^a-zA-Z0-9._/-]', '-', name)[-96:]}@{self.fingerprint}"


@dataclass
class Contract:
    """What the encoder and the decoder of a wire agree on.

    Args:
        spec: Options of the wire.
        sender: Sending model.
        receiver: Receiving model.
        soft_width: Size dr of a soft token.
        writes: What soft tokens are to the receiver: embeddings, or a deep prefix.
        fingerprint: Fingerprint of the bridge that writes the messages.
        task: Task that the bridge was trained on; None before training.
        prompts: Receiver prompt of each task, by task name, where training chose one.
        training: Options of the training.
        basis: Basis of `lowrank` messages, if one was fitted.
        limits: Largest messages that are read.
    """

    spec: WireSpec
    sender: ModelIdentity
    receiver: ModelIdentity
    soft_width: int
    writes: Literal["embeddings", "prefix"] = "embeddings"
    fingerprint: str = ""
    task: Task | None = None
    prompts: dict[str, str] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    basis: Basis | None = None
    limits: Limits = LIMITS


class Agreed(Generic[T]):
    """Attribute of an encoder, a decoder or a wire that is kept in its contract."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Party, owner: type | None = None) -> T:
        value: T = getattr(instance.contract, self._name)
        return value

    def __set__(self, instance: Party, value: T) -> None:
        setattr(instance.contract, self._name, value)


class Party:
    """Base of encoder, decoder and wire: gives access to the contract's fields."""

    contract: Contract
    spec = Agreed[WireSpec]()
    task = Agreed["Task | None"]()
    prompts = Agreed[dict[str, str]]()
    training = Agreed[dict[str, Any]]()
    basis = Agreed["Basis | None"]()
    limits = Agreed[Limits]()

    @property
    def lacks_basis(self) -> bool:
        """Whether the codec needs a basis and none was fitted yet."""
        return CODECS.get(self.spec.codec).needs_basis and self.basis is None

    def need_task(self) -> Task:
        """Return the task. Raises: UsageError: If the wire was not trained yet."""
        if self.task is None:
            raise UsageError(
                "This wire was not trained yet: run train_bridge(wire, task, out_dir=...) first."
            )
        return self.task
