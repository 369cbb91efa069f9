"""When a demo is complete, and when it starts a second process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentwire.core.files import write_json
from latentwire.core.progress import Progress
from latentwire.core.run_folder import RunFolder
from telepathy.cli import demo


def test_finished_demo_states_its_duration(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert demo._finished(run) is None
    write_json(run.results, {"methods": {}})  # of an interrupted demo
    assert demo._finished(run) is None
    write_json(run.results, {"methods": {}, "elapsed_s": 1.0})
    assert demo._finished(run) == {"methods": {}, "elapsed_s": 1.0}


def test_second_process_needs_two_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(demo.multiprocessing, "get_context", None)
    with demo._second_process(tmp_path, Progress()) as wait:
        wait()
