"""`latentwire doctor`: what this machine has, and the command for what it lacks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from rich.table import Table

from latentwire.core.errors import LatentWireError
from latentwire.core.files import cache_dir
from telepathy.reporting.tables import stdout_console


def examine() -> dict[str, Any]:
    """Facts about this machine as one JSON object."""
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
    free_in = cache if cache.exists() else Path.home()
    return {
        **describe_environment(),
        "device": str(device),
        "dtype": str(pick_dtype("auto", device)).removeprefix("torch."),
        "embedded_models": models,
        "cache": {"folder": str(cache), "mb": _size_mb(cache)},
        "disk_free_gb": shutil.disk_usage(free_in).free / 1e9,
    }


def show(found: dict[str, Any]) -> None:
    """Print what `examine` found."""
    table = Table(show_header=False)
    table.add_row("device", f"{found['device']}, {found['dtype']}")
    table.add_row("machine", f"{found['machine']}, {found['threads']} torch threads")
    table.add_row("versions", "  ".join(f"{k} {v}" for k, v in found["versions"].items()))
    table.add_row("commit", found["commit"])
    for name, state in found["embedded_models"].items():
        table.add_row(name, state)
    cache = found["cache"]
    table.add_row("cache", f"{cache['folder']} ({cache['mb']:.0f} MB; safe to delete)")
    table.add_row("free disk", f"{found['disk_free_gb']:.0f} GB")
    stdout_console().print(table)


def _size_mb(folder: Path) -> float:
    if not folder.is_dir():
        return 0.0
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
