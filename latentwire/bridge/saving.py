"""A bridge folder: config.json, model.safetensors, README.md. Whole, checked, no pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentwire.bridge.base import Bridge, build_bridge
from latentwire.core.errors import BridgeError, LatentWireError
from latentwire.core.files import replacing_dir, sha256_file, write_json, write_text

_FORMAT = 1
_CONFIG, _WEIGHTS, _CARD = "config.json", "model.safetensors", "README.md"


def save_bridge(
    bridge: Bridge,
    options: dict[str, Any],
    facts: dict[str, Any],
    folder: Path,
    beside: Mapping[str, dict[str, Tensor]] | None = None,
) -> None:
    """Write a bridge and what it belongs to, atomically.

    Args:
        bridge: The bridge.
        options: The kind's options it was built with.
        facts: JSON-able facts about the pair and the task; `load_bridge` gives them back.
        folder: Where to; an older bridge there is replaced.
        beside: More tensors that belong to it, by the name of their file.
    """
    with replacing_dir(folder) as temporary:
        weights = {name: value.contiguous() for name, value in bridge.state_dict().items()}
        save_file(weights, temporary / _WEIGHTS)
        for name, tensors in (beside or {}).items():
            save_file(tensors, temporary / name)
        config = {
            "format": _FORMAT,
            "kind": bridge.kind,
            "options": options,
            "sizes": {
                "n_layers": bridge.n_layers,
                "sender_width": bridge.sender_width,
                "receiver_width": bridge.receiver_width,
                "soft_tokens": bridge.soft_tokens,
            },
            "weights_sha256": sha256_file(temporary / _WEIGHTS),
            **facts,
        }
        write_json(temporary / _CONFIG, config)
        write_text(temporary / _CARD, _card(bridge, facts))


def load_bridge_config(folder: Path) -> dict[str, Any]:
    """Read the configuration of a bridge folder; its weights may be missing.

    Raises: BridgeError: If the folder is missing, foreign or of another format.
    """
    path = folder / _CONFIG
    if not path.is_file():
        raise BridgeError(
            f"No bridge in {folder}: there is no {_CONFIG}. Give the folder of a run."
        )
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = {"format", "kind", "sizes", "options", "weights_sha256"} - set(config)
    except (ValueError, TypeError) as error:
        raise BridgeError(f"{path} is not a LatentWire bridge: {error!r}.") from error
    if missing:
        raise BridgeError(f"{path} is not a LatentWire bridge: no {', '.join(sorted(missing))}.")
    if config["format"] != _FORMAT:
        raise BridgeError(
            f"{folder} has bridge format {config['format']}; this version reads {_FORMAT}."
        )
    return config


def load_bridge(folder: Path) -> tuple[Bridge, dict[str, Any]]:
    """Read a bridge folder; also returns its whole configuration.

    Raises: BridgeError: If the folder is missing, foreign, damaged or of another format.
    """
    config, weights = load_bridge_config(folder), folder / _WEIGHTS
    if not weights.is_file() or sha256_file(weights) != config["weights_sha256"]:
        raise BridgeError(
            f"{weights} is missing or damaged: its sha256 is not the recorded one. "
            "Copy the folder again or train again."
        )
    try:
        bridge = build_bridge(config["kind"], **config["sizes"], **config["options"])
        bridge.load_state_dict(load_file(weights))
    except (RuntimeError, TypeError, SafetensorError, LatentWireError) as error:
        raise BridgeError(f"{folder} does not fit its own configuration: {error}") from error
    return bridge.eval(), config


def bridge_fingerprint(bridge: Bridge) -> str:
    """16 hex digits that name the bridge's kind and weights."""
    digest = hashlib.sha256(bridge.kind.encode())
    for name, value in sorted(bridge.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _card(bridge: Bridge, facts: dict[str, Any]) -> str:
    sender, receiver = facts.get("sender", {}), facts.get("receiver", {})
    return f"""# LatentWire bridge: {sender.get("name")} -> {receiver.get("name")}

Turns hidden states of `{sender.get("name")}` (layers {sender.get("layers")}) into
{bridge.soft_tokens} soft tokens for `{receiver.get("name")}`. It works with these two models only.

| | |
|---|---|
| kind | `{bridge.kind}`: {bridge.about} |
| source | {bridge.source} |
| trained values | {bridge.n_parameters:,} |
| trained on task | {facts.get("task", {}).get("name", "none yet")} |

```python
from latentwire import Wire
wire = Wire.from_pretrained("this folder, or the run folder above it")
print(wire.answer("a text"))
```
"""
