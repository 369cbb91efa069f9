"""`python -m telepathy.run`: the same answers as the commands, resumable, with their exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from latentwire import Task, Wire, evaluate
from latentwire.core.errors import RequeueError
from latentwire.core.progress import Progress
from telepathy import run
from telepathy.experiments.config import ExperimentConfig, build_config

OPTIONS = {
    **{"pair.name": "fake", "wire.bridge": "linear", "wire.soft_tokens": 4, "wire.layer": 2},
    **{"train.steps": 4, "train.batch_size": 4, "train.eval_every": 2, "eval.timed": 0},
}


@pytest.fixture
def config(own_cache: Path, make_task: Callable[..., Task], tmp_path: Path) -> ExperimentConfig:
    make_task(16)
    task = {"task.name": "colours", "task.file": str(tmp_path / "colours.yaml")}
    return build_config(OPTIONS, task, {"eval.methods": "bridge,zero"})


def test_execute_answers_as_a_reloaded_wire(config: ExperimentConfig, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run.execute(config, folder)
    results = (folder / "results.json").read_bytes()
    wire = Wire.from_pretrained(folder)
    assert wire.task is not None
    evaluate(wire, wire.task, methods=["bridge", "zero"], timed=0, out_dir=tmp_path / "again")
    for name in ("bridge", "zero"):
        file = f"predictions.{name}.jsonl"
        assert (folder / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    metrics = (folder / "metrics.jsonl").read_bytes()
    run.execute(config, folder)  # a finished training is not repeated
    assert (folder / "metrics.jsonl").read_bytes() == metrics
    assert json.loads(results)["methods"].keys() == {"bridge", "zero"}


def test_execute_resumes_after_a_signal(
    config: ExperimentConfig,
    tmp_path: Path,
    stop_at: Callable[..., Progress],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run.execute(config, tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(run, "default_progress", lambda: stop_at(2, signal.SIGTERM))
        with pytest.raises(RequeueError):
            run.execute(config, tmp_path / "run")
    run.execute(config, tmp_path / "run")
    file = "bridge/model.safetensors"
    assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_baselines_write_results_and_a_table(config: ExperimentConfig, tmp_path: Path) -> None:
    methods = {"kind": "baselines", "eval.methods": ["zeroshot_receiver"], "eval.limit": 4}
    run.execute(build_config(config.model_dump(mode="json"), methods), tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["n"] == 4 and "zeroshot_receiver" in (tmp_path / "run" / "table.md").read_text()


def test_main_ends_with_the_exit_code_of_the_error(tmp_path: Path) -> None:
    (tmp_path / "experiment.json").write_text('{"task": {"name": "sst2"}, "train": {"lr": -1}}')
    done = subprocess.run(
        [sys.executable, "-m", "telepathy.run", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.startswith("error: train.lr: ")
