"""Imports point inward and form no cycle; importing has no side effects."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A package may import those of lower layers and itself (docs/DESIGN.md, "Packages").
LAYERS = (
    {"core"},
    {"data", "models", "bridge", "losses"},
    {"prompting"},
    {"wire", "objectives"},
    {"train"},
    {"eval"},
    {"methods"},
    {"bench", "serve"},
)
LAYER = {package: i for i, layer in enumerate(LAYERS) for package in layer}


@cache
def graph() -> dict[str, frozenset[str]]:
    """Module -> modules of this project that it imports, `TYPE_CHECKING` blocks apart."""
    files = [p for top in ("latentwire", "telepathy") for p in (ROOT / top).rglob("*.py")]
    modules = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p
        for p in files
    }
    return {name: frozenset(_imported(name, path, set(modules))) for name, path in modules.items()}


def _imported(name: str, path: Path, modules: set[str]) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    # A package's own modules load it first anyway.
    return {m for m in found & modules if m != name and not name.startswith(m + ".")}


def test_imports_form_no_cycle() -> None:
    edges = graph()
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            pytest.fail("import cycle: " + " -> ".join((*path[path.index(module) :], module)))
        if module in done:
            return
        for imported in sorted(edges[module]):
            visit(imported, (*path, module))
        done.add(module)

    for module in sorted(edges):
        visit(module, ())


def test_library_imports_point_inward() -> None:
    offenders = []
    for module, imported in graph().items():
        if not module.startswith("latentwire."):
            continue
        package = module.split(".")[1]
        for other in imported:
            if not other.startswith("latentwire."):
                if other.startswith("telepathy"):
                    offenders.append(f"{module} imports {other}")
                continue
            target = other.split(".")[1]
            if target != package and LAYER[target] >= LAYER[package]:
                offenders.append(f"{module} imports {other}")
    assert not offenders


def test_library_top_level_is_small() -> None:
    entries = {
        path.name
        for path in (ROOT / "latentwire").iterdir()
        if path.name not in ("__init__.py", "py.typed", "__pycache__")
    }
    assert {name.removesuffix(".py") for name in entries} <= set(LAYER)


def test_only_models_imports_transformers() -> None:
    offenders = []
    for path in (ROOT / "latentwire").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            if path.parent.name != "models" and any(
                n.split(".")[0] == "transformers" for n in names
            ):
                offenders.append(str(path.relative_to(ROOT)))
    assert not offenders


def test_importing_is_quick_and_changes_nothing() -> None:
    code = (
        "import os, sys, logging; before = dict(os.environ)\n"
        "import latentwire, telepathy.cli.main\n"
        "assert dict(os.environ) == before and not logging.getLogger().handlers\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_all_is_sorted_and_complete() -> None:
    import latentwire

    assert latentwire.__all__ == sorted(latentwire.__all__)
    for name in latentwire.__all__:
        assert getattr(latentwire, name) is not None
