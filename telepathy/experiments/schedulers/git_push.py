"""Push results and the registry to the git remote, which other machines may update meanwhile.

The commit is created in a separate worktree on top of the newest commit of the remote branch. If
another machine pushes in between, it is recreated on top of that push. The registry becomes the
union of both sides. Files of the checkout, and thus the running code, never change.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from latentwire.core.errors import LatentWireError, UsageError
from telepathy.experiments.registry import Registry
from telepathy.experiments.registry.merging import merge_files
from telepathy.experiments.suites.expansion import Experiment

_FILES = ("results.json", "table.md")
_ATTEMPTS = 6
_MAX_BYTES = 20 * 2**20


class PushError(LatentWireError, RuntimeError):
    """Git rejected the results; they are still in the run folders."""


class Pusher:
    """Pushes the results of completed experiments.

    Args:
        registry: The registry; its index is also pushed.
        experiments: Experiments whose results are pushed.
        title: Subject of the commit.
        every_s: Minimum time between two pushes of `push_if_due`.
    Raises: UsageError: If the registry is not in a git checkout with a branch and a remote.
    """

    def __init__(
        self,
        registry: Registry,
        experiments: Sequence[Experiment],
        title: str,
        every_s: float = 600.0,
    ) -> None:
        self.registry, self.experiments, self.title = registry, list(experiments), title
        self.every_s, self._last = every_s, time.monotonic()
        self._lock = threading.Lock()
        registry.store.runs_dir.mkdir(parents=True, exist_ok=True)
        start = registry.store.runs_dir.resolve()
        try:
            self.root = Path(_git(start, "rev-parse", "--show-toplevel"))
            self.branch = _git(start, "symbolic-ref", "--short", "HEAD")
            remotes = _git(start, "remote").split()
            self.remote = "origin" if "origin" in remotes else remotes[0]
        except (PushError, IndexError) as error:
            raise UsageError(
                f"--push needs {start} to be in a git checkout, on a branch, with a remote "
                f"({error or 'it has no remote'}). Set this up, or run without --push."
            ) from None

    def push_if_due(self) -> None:
        """Push if the last push was long enough ago. A failure is reported, not raised."""
        if time.monotonic() - self._last >= self.every_s:
            self.push()

    def push(self) -> bool:
        """Push, and return whether that succeeded. A failure is reported on stderr."""
        with self._lock:
            self._last = time.monotonic()
            try:
                print(f"push: {self._push()}", file=sys.stderr, flush=True)
            except (PushError, OSError) as error:
                print(f"warning: not pushed: {error}", file=sys.stderr, flush=True)
                return False
        return True

    def _push(self) -> str:
        from filelock import FileLock

        common = Path(_git(self.root, "rev-parse", "--git-common-dir"))
        with FileLock((self.root / common) / "latentwire-push.lock", timeout=300):
            for attempt in range(_ATTEMPTS):
                with self._remote_worktree() as tree:
                    n_files = self._stage_files(tree)
                    if not _git(tree, "status", "--porcelain", "--untracked-files=no"):
                        return "nothing new"
                    _git(tree, "commit", "--quiet", "-m", self.title)
                    try:
                        _git(tree, "push", "--quiet", self.remote, f"HEAD:{self.branch}")
                    except PushError as error:
                        refused = error
                    else:
                        self._advance_branch(_git(tree, "rev-parse", "HEAD"))
                        return f"{n_files} files are on {self.remote}/{self.branch}"
                time.sleep(random.uniform(0.2, 1) * 2**attempt)
        raise refused

    @contextmanager
    def _remote_worktree(self) -> Iterator[Path]:
        """Yield a worktree at the newest commit of the remote branch."""
        _git(self.root, "fetch", "--quiet", self.remote, self.branch)
        with tempfile.TemporaryDirectory(prefix="latentwire-push-") as folder:
            tree = Path(folder) / "tree"
            _git(self.root, "worktree", "add", "--quiet", "--detach", str(tree), "FETCH_HEAD")
            try:
                yield tree
            finally:
                _git(self.root, "worktree", "remove", "--force", str(tree))

    def _stage_files(self, tree: Path) -> int:
        """Copy and stage everything in a worktree; return the number of files."""
        index = self.registry.store.path.resolve()
        there = tree / index.relative_to(self.root)
        if there.exists():
            self.registry.store.rebuild([there])  # adds the records of other machines
        there.parent.mkdir(parents=True, exist_ok=True)
        ours = there.with_name("ours.json")
        shutil.copyfile(index, ours)
        if there.exists():
            merge_files(there, ours)
            ours.unlink()
        else:
            ours.replace(there)
        files = [there]
        for source in self._results():
            files.append(tree / source.relative_to(self.root))
            files[-1].parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, files[-1])
        # .gitignore excludes run folders because of their weights; --force adds the small results.
        _git(tree, "add", "--force", "--", *(str(file.relative_to(tree)) for file in files))
        return len(files)

    def _results(self) -> Iterator[Path]:
        states = {record.key: record.state for record in self.registry.records()}
        for experiment in self.experiments:
            if states.get(experiment.key) != "completed":
                continue
            for name in _FILES:
                file = experiment.folder.resolve() / name
                if file.is_file() and file.stat().st_size < _MAX_BYTES:
                    yield file

    def _advance_branch(self, commit: str) -> None:
        """Move the local branch to that commit if the two differ only in run folders.

        Otherwise the next `git pull` would refuse to overwrite results that exist here already.
        """
        runs = self.registry.store.runs_dir.resolve().relative_to(self.root)
        try:
            _git(self.root, "merge-base", "--is-ancestor", "HEAD", commit)
            _git(self.root, "diff", "--quiet", "--cached")
            _git(self.root, "diff", "--quiet", "HEAD", commit, "--", ".", f":!{runs}")
        except PushError:
            return
        _git(self.root, "reset", "--quiet", "--mixed", commit)
        if absent := _git(self.root, "ls-files", "--deleted", "--", str(runs)).splitlines():
            _git(self.root, "checkout-index", "--", *absent)


def _git(where: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(where), *arguments], capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise PushError(f"git {arguments[0]}: {words[-1] if words else done.returncode}")
    return done.stdout.strip()
