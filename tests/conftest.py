"""Shared by all tests: no network, a cache of the test's own, tiny fake models."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from latentwire import Task, Wire, load_task
from latentwire.core.progress import Progress


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection to another machine fails the test that tries it."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (
            "127.0.0.1",
            "::1",
            "localhost",
        ):
            raise RuntimeError(f"a test reached for the network: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Threads only slow tiny models down, above all on a busy machine."""
    import torch

    before = torch.get_num_threads()
    if "real" not in request.keywords:
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class StopAt(Progress):
    """Sends this process a signal when a piece of work has come so far.

    Args:
        n: Steps or examples of that work.
        number: Of the signal.
        title: Of the work.
    """

    def __init__(self, n: int, number: int = signal.SIGTERM, title: str = "training") -> None:
        self.left, self.number, self.title = n, number, title
        self.open = False

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[Progress]:
        before, self.open = self.open, title == self.title
        yield self
        self.open = before

    def advance(self, n: int = 1, note: str = "") -> None:
        if self.open and self.left > 0:
            self.left -= n
            if self.left <= 0:
                os.kill(os.getpid(), self.number)


@pytest.fixture
def stop_at() -> type[StopAt]:
    """A progress that asks its own process to stop."""
    return StopAt


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache folder instead of the user's."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LATENTWIRE_CACHE", str(folder))
    return folder


_TASK = """\
name: colours
version: 1
kind: choice
metric: acc
labels: [red, blue]
source:
  files: {train: train.csv, val: val.csv, test: test.csv}
splits: {train: train, val: val, test: test}
example: {context: "{text}", target: label, target_values: [red, blue]}
prompts:
  - "Colours: {labels}.\\nText: {context}\\nColour:"
  - "Which of {labels} is it?\\n{context}\\nAnswer:"
  - "{context}\\nIts colour is"
relay_prompts:
  - "Note the colour ({labels}) of: {context}\\nNote:"
  - "Sum up: {context}\\nSummary:"
  - "Facts of: {context}\\nFacts:"
sender_prompt_aware: "Colours: {labels}.\\nText: {context}\\nColour:"
max_context_tokens: 48
"""


@pytest.fixture
def make_task(tmp_path: Path) -> Callable[..., Task]:
    """A two-label task that only the text can answer: fire words are red, water words blue."""

    def make(n: int = 32) -> Task:
        red, blue = ("fire", "blood", "rose", "flame"), ("sea", "sky", "rain", "lake")
        start = 10  # no text is in two splits
        for split, count in (("train", n), ("val", 16), ("test", 24)):
            rows = ["text,label"]
            for i in range(start, start + count):
                words, label = (red, "red") if i % 2 else (blue, "blue")
                rows.append(f"{words[i // 2 % 4]} and {words[i // 8 % 4]} {i * 7 % 1000},{label}")
            start += count
            (tmp_path / f"{split}.csv").write_text("\n".join(rows) + "\n")
        (tmp_path / "colours.yaml").write_text(_TASK)
        return load_task(tmp_path / "colours.yaml")

    return make


@pytest.fixture
def fake_wire(own_cache: Path) -> Callable[..., Wire]:
    """An untrained wire between the fakes."""

    def make(**settings: Any) -> Wire:
        return Wire.build(**{"pair": "fake", "soft_tokens": 4, "layer": 2, **settings})

    return make
