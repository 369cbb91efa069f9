"""The state of the source tree that runs. Light to import: the registry starts with it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class SourceTree:
    """What code a run is made by.

    Args:
        commit: Twelve digits of the commit; `unknown` outside git.
        dirty: Whether tracked files differ from it; those in runs/ may, runs write them.
    """

    commit: str
    dirty: bool

    def __str__(self) -> str:
        return f"{self.commit}-dirty" if self.dirty else self.commit


def source_tree(root: Path = _ROOT) -> SourceTree:
    """The tree at `root`, by default the one that this file is in."""
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!runs")
    return SourceTree(commit or "unknown", bool(changed))


def _git(root: Path, *arguments: str) -> str:
    """What git printed; empty if it failed."""
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
