"""Bridge folders: config.json, model.safetensors and README.md. Atomic, verified, no pickle."""

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
    extra: Mapping[str, dict[str, Tensor]] | None = None,
) -> None:
    """Write a bridge folder atomically.

    Args:
        bridge: The bridge.
        options: Options that the bridge was built with; all others are saved with their defaults.
        facts: JSON-serializable facts about the pair and the task, which `load_bridge` returns.
        folder: Destination; an existing bridge is replaced.
        extra: Additional tensor files, by file name.
    """
    with replacing_dir(folder) as temporary:
        weights = {name: value.contiguous() for name, value in bridge.state_dict().items()}
        save_file(weights, temporary / _WEIGHTS)
        for name, tensors in (extra or {}).items():
            save_file(tensors, temporary / name)
        config = {
            "format": _FORMAT,
            "kind": bridge.kind,
            "options": {**bridge.options(), **options},
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

    Raises: BridgeError: If the folder is missing, not a bridge or in another format.
    """
    path = folder / _CONFIG
    if not path.is_file():
        raise BridgeError(f"No bridge in {folder}: {_CONFIG} is missing. Give a run folder.")
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
    """Load a bridge folder and return the bridge and its configuration.

    Raises: BridgeError: If the folder is missing, damaged, not a bridge or in another format.
    """
    config, weights = load_bridge_config(folder), folder / _WEIGHTS
    if not weights.is_file() or sha256_file(weights) != config["weights_sha256"]:
        raise BridgeError(
            f"{weights} is missing or damaged: its SHA-256 differs from the recorded one. "
            "Copy the folder again, or train again."
        )
    try:
        bridge = build_bridge(config["kind"], **config["sizes"], **config["options"])
        bridge.load_state_dict(load_file(weights))
    except (RuntimeError, TypeError, SafetensorError, LatentWireError) as error:
        raise BridgeError(f"The weights in {folder} do not match its {_CONFIG}: {error}") from error
    return bridge.eval(), config


def bridge_fingerprint(bridge: Bridge) -> str:
    """16 hexadecimal digits that identify the bridge's kind and weights."""
    digest = hashlib.sha256(bridge.kind.encode())
    for name, value in sorted(bridge.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _card(bridge: Bridge, facts: dict[str, Any]) -> str:
    sender, receiver = facts.get("sender", {}), facts.get("receiver", {})
    return f"""# LatentWire bridge: {sender.get("name")} -> {receiver.get("name")}

Maps hidden states of `{sender.get("name")}` (layers {sender.get("layers")}) to
{bridge.soft_tokens} soft tokens for `{receiver.get("name")}`. It works with these two models only.

| | |
|---|---|
| kind | `{bridge.kind}`: {bridge.about} |
| source | {bridge.source} |
| trained parameters | {bridge.n_parameters:,} |
| trained on task | {facts.get("task", {}).get("name", "none yet")} |

```python
from latentwire import Wire
wire = Wire.from_pretrained("path/to/this/folder")
print(wire.answer("a text"))
```
"""
