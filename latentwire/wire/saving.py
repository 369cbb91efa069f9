"""Save and load wires: bridge, contract and the basis of `lowrank` messages."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from latentwire.bridge import BRIDGES, Bridge
from latentwire.bridge.saving import load_bridge, load_bridge_config, save_bridge
from latentwire.core.errors import BridgeError, PairMismatchError
from latentwire.core.progress import Progress
from latentwire.data import Task
from latentwire.data.spec import TaskSpec
from latentwire.models import LanguageModel, load_model
from latentwire.wire.basis import Basis
from latentwire.wire.contract import Contract, ModelIdentity
from latentwire.wire.spec import WireSpec

_BASIS = "lowrank.safetensors"


def save_wire(
    folder: Path,
    bridge: Bridge,
    contract: Contract,
    sender: LanguageModel,
    receiver: LanguageModel,
) -> None:
    """Save a bridge and its contract to `folder`, atomically.

    The contract is enough to load an encoder without the receiver, and a decoder without sender
    and bridge.
    """
    spec, task = contract.spec, contract.task
    facts = {
        "wire": asdict(spec),
        "sender": {**_model_facts(sender), "layers": list(spec.layers)},
        "receiver": {**_model_facts(receiver), "soft_width": contract.soft_width},
        "writes": contract.writes,
        "task": task.spec.model_dump(mode="json") if task else None,
        "task_folder": str(task.base.resolve()) if task and task.base else None,
        "prompts": contract.prompts,
        "training": contract.training,
        "fingerprint": contract.fingerprint,
        "basis": contract.basis.fingerprint if contract.basis else None,
    }
    more = {_BASIS: contract.basis.tensors()} if contract.basis else {}
    save_bridge(bridge, spec.options, facts, folder, more)


def load_contract(folder: Path) -> Contract:
    """Load the contract of a saved wire, without weights.

    Args:
        folder: Run folder, or the bridge folder inside it.
    Raises: BridgeError: If the folder is missing, foreign or damaged.
    """
    inner = _bridge_folder(folder)
    config = load_bridge_config(inner)
    if missing := [key for key in ("sender", "receiver", "wire") if not config.get(key)]:
        raise BridgeError(f"The bridge in {folder} does not state its {', '.join(missing)}.")
    spec = {**config["wire"], "layers": tuple(config["wire"]["layers"])}
    if "encoding" in spec:  # key of the codec in runs saved before 2026-12
        spec["codec"] = spec.pop("encoding")
    sender, receiver, basis = config["sender"], config["receiver"], config.get("basis")
    return Contract(
        spec=WireSpec(**spec),
        sender=ModelIdentity(sender["name"], sender["fingerprint"]),
        receiver=ModelIdentity(receiver["name"], receiver["fingerprint"]),
        # Runs saved before 2026-12 do not state these two.
        soft_width=receiver.get("soft_width") or config["sizes"]["receiver_width"],
        writes=config.get("writes") or BRIDGES.get(config["kind"]).writes,
        fingerprint=config.get("fingerprint") or "",
        task=_task(config),
        prompts=dict(config.get("prompts") or {}),
        training=dict(config.get("training") or {}),
        basis=Basis.load(inner / _BASIS, basis) if basis else None,
    )


def load_weights(folder: Path) -> Bridge:
    """Load the bridge of a saved wire. Raises: BridgeError: If it is missing or damaged."""
    return load_bridge(_bridge_folder(folder))[0]


def load_side(
    folder: Path,
    role: str,
    model: str | LanguageModel | None,
    *,
    device: str,
    dtype: str,
    progress: Progress | None,
) -> LanguageModel:
    """Load one of the two models of a saved wire and check its fingerprint.

    Args:
        folder: Run folder, or the bridge folder inside it.
        role: `sender` or `receiver`.
        model: Model or its current location; the saved name by default.
        device: See `Wire.build`.
        dtype: See `Wire.build`.
        progress: See `Wire.build`.
    Raises: PairMismatchError: If the bridge was trained for another model.
    """
    saved = load_bridge_config(_bridge_folder(folder))[role]
    lm = model if isinstance(model, LanguageModel) else None
    if lm is None:
        lm = load_model(str(model or saved["name"]), device=device, dtype=dtype, progress=progress)
    if lm.fingerprint != saved["fingerprint"]:
        raise PairMismatchError(
            f"The bridge in {folder} was trained for the {role} '{saved['name']}' "
            f"({saved['fingerprint']}); '{lm.name}' ({lm.fingerprint}) is a different model. Train "
            "a bridge for it."
        )
    if saved.get("tokenizer") not in (None, tokenizer_digest(lm)):
        raise PairMismatchError(
            f"The tokenizer or chat template of '{lm.name}' differs from that of the {role} the "
            f"bridge in {folder} was trained for. Use the original tokenizer files, or train "
            "the bridge again."
        )
    return lm


def tokenizer_digest(lm: LanguageModel) -> str:
    """Return 16 hex digits that identify vocabulary and chat template of a model."""
    tokenizer = lm.tokenizer
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    facts = [vocabulary, tokenizer.bos_token, getattr(tokenizer, "chat_template", None)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _bridge_folder(folder: Path) -> Path:
    inner = folder / "bridge"
    return inner if inner.is_dir() else folder


def _task(config: dict[str, Any]) -> Task | None:
    if not config.get("task"):
        return None
    base = config.get("task_folder")
    return Task(TaskSpec.model_validate(config["task"]), Path(base) if base else None)


def _model_facts(lm: LanguageModel) -> dict[str, str]:
    return {"name": lm.name, "fingerprint": lm.fingerprint, "tokenizer": tokenizer_digest(lm)}
