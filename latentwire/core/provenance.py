"""Provenance of a result: source tree, package versions and machine.

Importing this module loads neither torch nor pydantic, because the registry imports it.
"""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_PACKAGES = ("latentwire", "torch", "transformers", "tokenizers", "safetensors", "numpy")


@dataclass(frozen=True)
class SourceTree:
    """State of the source code that produced a run.

    Args:
        commit: First twelve hex digits of the commit hash; `unknown` outside a git repository.
        dirty: Whether tracked files have uncommitted changes. Changes in runs/ do not count,
            because runs write there.
    """

    commit: str
    dirty: bool

    def __str__(self) -> str:
        return f"{self.commit}-dirty" if self.dirty else self.commit


def source_tree(root: Path = _ROOT) -> SourceTree:
    """Return the state of the git repository at `root`, by default the one with this file."""
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!runs")
    return SourceTree(commit or "unknown", bool(changed))


def describe_environment() -> dict[str, Any]:
    """Return package versions, commit, machine and number of threads."""
    import torch

    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "versions": versions,
        "commit": str(source_tree()),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
    }


def _git(root: Path, *arguments: str) -> str:
    """Return the output of a git command, or "" if it fails."""
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
