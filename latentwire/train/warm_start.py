"""Begin with the weights of another run's bridge."""

from __future__ import annotations

from pathlib import Path

from latentwire.bridge import Bridge
from latentwire.bridge.saving import load_bridge
from latentwire.errors import ConfigError


def trained_bridge(folder: str | Path, wanted: Bridge) -> Bridge:
    """The bridge of a run, if its weights fit into another one.

    Args:
        folder: A run's folder, or its `bridge/`.
        wanted: The bridge that is to take them.
    Raises:
        BridgeError: If the folder is missing, foreign or damaged.
        ConfigError: If a weight has another shape or name; the message lists all of them.
    """
    folder = Path(folder)
    found, _ = load_bridge(folder / "bridge" if (folder / "bridge").is_dir() else folder)
    theirs = {name: tuple(v.shape) for name, v in found.state_dict().items()}
    ours = {name: tuple(v.shape) for name, v in wanted.state_dict().items()}
    differing = [
        f"{name}: {theirs.get(name, 'not')} there, {ours.get(name, 'not')} here"
        for name in sorted({*theirs, *ours})
        if theirs.get(name) != ours.get(name)
    ]
    if differing or found.kind != wanted.kind:
        raise ConfigError(
            f"The {found.kind} bridge in {folder} cannot start this {wanted.kind} bridge "
            f"({'; '.join(differing) or 'another kind'}). Give the same kind, options, soft "
            "tokens, layers and pair, or leave out init."
        )
    return found
