"""A wire on disk: its bridge's folder, what it belongs to, and the basis of `lowrank` messages."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentwire.bridge import Bridge
from latentwire.bridge.saving import load_bridge, save_bridge
from latentwire.core.errors import BridgeError, PairMismatchError
from latentwire.core.progress import Progress
from latentwire.data import Task
from latentwire.data.spec import TaskSpec
from latentwire.models import LanguageModel
from latentwire.models.loading import load_pair
from latentwire.wire.basis import Basis
from latentwire.wire.spec import WireSpec

if TYPE_CHECKING:
    from latentwire.wire.wire import Wire

_BASIS = "lowrank.safetensors"


@dataclass(frozen=True)
class SavedWire:
    """What a wire is made of again.

    Args:
        lms: Sending and receiving model.
        bridge: With its trained weights.
        spec: What the wire is beside.
        task: What it was trained on.
        prompts: What its receiver reads, by task.
        training: Settings it was trained with.
        basis: Of `lowrank` messages, if one was fitted.
    """

    lms: tuple[LanguageModel, LanguageModel]
    bridge: Bridge
    spec: WireSpec
    task: Task | None
    prompts: dict[str, str]
    training: dict[str, Any]
    basis: Basis | None


def save_wire(wire: Wire, folder: Path) -> None:
    """Write the bridge and what it belongs to into `folder`, atomically."""
    task = wire.task
    facts = {
        "wire": asdict(wire.spec),
        "sender": {**_identity(wire.sender.lm), "layers": list(wire.spec.layers)},
        "receiver": _identity(wire.receiver.lm),
        "task": task.spec.model_dump(mode="json") if task else None,
        "task_folder": str(task.base.resolve()) if task and task.base else None,
        "prompts": wire.prompts,
        "training": wire.training,
        "fingerprint": wire.fingerprint,
        "basis": wire.basis.fingerprint if wire.basis else None,
    }
    beside = {_BASIS: wire.basis.tensors()} if wire.basis else {}
    save_bridge(wire.bridge, wire.spec.options, facts, folder, beside)


def load_wire(
    folder: Path,
    sender: str | LanguageModel | None,
    receiver: str | LanguageModel | None,
    *,
    device: str,
    dtype: str,
    progress: Progress | None,
) -> SavedWire:
    """Read what `save_wire` wrote; `Wire.from_pretrained` says what the arguments are.

    Raises:
        BridgeError: If the folder is missing, foreign or damaged.
        PairMismatchError: If a model is not the one the bridge was trained for.
    """
    inner = folder / "bridge"
    inner = inner if inner.is_dir() else folder
    bridge, config = load_bridge(inner)
    if missing := [key for key in ("sender", "receiver", "wire") if not config.get(key)]:
        raise BridgeError(f"The bridge in {folder} does not say its {', '.join(missing)}.")
    lms = load_pair(
        sender or config["sender"]["name"],
        receiver or config["receiver"]["name"],
        device=device,
        dtype=dtype,
        progress=progress,
    )
    for role, lm in zip(("sender", "receiver"), lms):
        if lm.fingerprint != config[role]["fingerprint"]:
            raise PairMismatchError(
                f"The bridge in {folder} was trained for the {role} "
                f"'{config[role]['name']}' ({config[role]['fingerprint']}); "
                f"'{lm.name}' ({lm.fingerprint}) is another model. Train a bridge for it."
            )
    spec = {**config["wire"], "layers": tuple(config["wire"]["layers"])}
    if "encoding" in spec:  # the name of the codec in runs saved before 2026-12
        spec["codec"] = spec.pop("encoding")
    named = config.get("basis")
    return SavedWire(
        lms=(lms[0], lms[1]),
        bridge=bridge,
        spec=WireSpec(**spec),
        task=_task(config),
        prompts=dict(config.get("prompts") or {}),
        training=dict(config.get("training") or {}),
        basis=Basis.load(inner / _BASIS, named) if named else None,
    )


def _task(config: dict[str, Any]) -> Task | None:
    if not config.get("task"):
        return None
    base = config.get("task_folder")
    return Task(TaskSpec.model_validate(config["task"]), Path(base) if base else None)


def _identity(lm: LanguageModel) -> dict[str, str]:
    return {"name": lm.name, "fingerprint": lm.fingerprint}
