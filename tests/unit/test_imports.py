"""Imports point inward; importing has no side effects."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_WIRE = ("message", "wire", "wire_building", "wire_format", "wire_messages")
_WIRE += ("wire_saving", "wire_spec")
_ABOVE = (*_WIRE, "train", "eval", "baselines")
# Package -> what it may not import. Inward: scripts -> telepathy -> latentwire.
FORBIDDEN = {
    "latentwire": ("telepathy", "scripts"),
    "latentwire/data": ("models", "bridge", "losses", "objectives", *_ABOVE),
    "latentwire/models": ("data", "bridge", "losses", "objectives", *_ABOVE),
    "latentwire/bridge": ("data", "models", "losses", "objectives", *_ABOVE),
    "latentwire/sinks": ("data", "models", "bridge", "losses", "objectives", *_ABOVE),
    "latentwire/objectives": ("data", "models", "bridge", *_ABOVE),
    "latentwire/wire_format": (
        "data",
        "models",
        "bridge",
        "losses",
        "objectives",
        "message",
        "wire",
    ),
    "latentwire/train": ("eval", "baselines", "bench"),
    "latentwire/eval": ("train", "baselines", "bench"),
    "latentwire/baselines": ("bench",),
}


def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_inward(package: str) -> None:
    offenders = []
    for path in (ROOT / package).rglob("*.py"):
        for module in _imported(path):
            for banned in FORBIDDEN[package]:
                full = banned if package == "latentwire" else f"latentwire.{banned}"
                if module == full or module.startswith(full + "."):
                    offenders.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not offenders


def test_only_models_imports_transformers() -> None:
    offenders = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "latentwire").rglob("*.py")
        if any(m.split(".")[0] == "transformers" for m in _imported(path))
        and path.parent.name != "models"
    ]
    assert not offenders


def test_importing_is_quick_and_changes_nothing() -> None:
    code = (
        "import os, sys, logging; before = dict(os.environ)\n"
        "import latentwire, telepathy.cli\n"
        "assert dict(os.environ) == before and not logging.getLogger().handlers\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_all_is_sorted_and_complete() -> None:
    import latentwire

    assert latentwire.__all__ == sorted(latentwire.__all__)
    for name in latentwire.__all__:
        assert getattr(latentwire, name) is not None
