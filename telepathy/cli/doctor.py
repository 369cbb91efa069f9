"""`latentwire doctor`: this machine's device, versions, embedded models and caches."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from latentwire.core.errors import LatentWireError
from latentwire.core.files import cache_dir
from telepathy.cli.options import JsonOption
from telepathy.reporting.text import print_json


def doctor(as_json: JsonOption = False) -> None:
    """Show this machine's device, versions, embedded models and disk space.

    A missing model is listed with the command that installs it.
    """
    found = examine()
    if as_json:
        print_json(found)
    else:
        _show(found)


def examine() -> dict[str, Any]:
    """Facts about this machine as a JSON object."""
    from latentwire.core.provenance import describe_environment
    from latentwire.models.loading import pick_device, pick_dtype
    from latentwire.models.zoo import EMBEDDED

    device = pick_device("auto")
    models = {}
    for name, model in EMBEDDED.items():
        try:
            model.part_paths(name)
            models[name] = "installed"
        except LatentWireError as error:
            models[name] = str(error)
    cache = cache_dir()
    disk = cache if cache.exists() else Path.home()
    return {
        **describe_environment(),
        "device": str(device),
        "dtype": str(pick_dtype("auto", device)).removeprefix("torch."),
        "embedded_models": models,
        "cache": {"folder": str(cache), "mb": _size_mb(cache)},
        "disk_free_gb": shutil.disk_usage(disk).free / 1e9,
    }


def _show(found: dict[str, Any]) -> None:
    cache = found["cache"]
    facts = {
        "device": f"{found['device']}, {found['dtype']}",
        "machine": f"{found['machine']}, {found['threads']} torch threads",
        "versions": ", ".join(f"{name} {number}" for name, number in found["versions"].items()),
        "commit": found["commit"],
        **found["embedded_models"],
        "cache": f"{cache['folder']} ({cache['mb']:.0f} MB, safe to delete)",
        "free disk": f"{found['disk_free_gb']:.0f} GB",
    }
    width = max(map(len, facts))
    for name, fact in facts.items():
        print(f"{name:<{width}}  {fact}")


def _size_mb(folder: Path) -> float:
    if not folder.is_dir():
        return 0.0
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
