"""Contract of a wire, saved with a run so that encoder and decoder can be used separately."""

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
    """Name and fingerprint of a model, written `name@fingerprint` in messages.

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
    """Options and facts that the encoder and the decoder of a wire share.

    Args:
        spec: Options of the wire.
        sender: Sending model.
        receiver: Receiving model.
        soft_width: Size dr of a soft token.
        writes: Form of soft tokens in the receiver: input embeddings, or a deep prefix.
        fingerprint: Fingerprint of the bridge that writes the messages.
        task: Task that the bridge was trained on; None before training.
        prompts: Receiver prompts chosen in training, by task name.
        training: Options of the training.
        basis: Basis of `lowrank` messages, if one was fitted.
        limits: Maximum size of accepted messages.
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


class ContractField(Generic[T]):
    """Attribute of an encoder, a decoder or a wire that is stored in its contract."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: HasContract, owner: type | None = None) -> T:
        value: T = getattr(instance.contract, self._name)
        return value

    def __set__(self, instance: HasContract, value: T) -> None:
        setattr(instance.contract, self._name, value)


class HasContract:
    """Base of encoder, decoder and wire: exposes the fields of their contract."""

    contract: Contract
    spec = ContractField[WireSpec]()
    task = ContractField["Task | None"]()
    prompts = ContractField[dict[str, str]]()
    training = ContractField[dict[str, Any]]()
    basis = ContractField["Basis | None"]()
    limits = ContractField[Limits]()

    @property
    def lacks_basis(self) -> bool:
        """Whether the codec needs a basis and none has been fitted."""
        return CODECS.get(self.spec.codec).needs_basis and self.basis is None

    def need_task(self) -> Task:
        """Return the task. Raises: UsageError: If the wire has not been trained."""
        if self.task is None:
            raise UsageError(
                "This wire has not been trained: run train_bridge(wire, task, out_dir=...) first."
            )
        return self.task
