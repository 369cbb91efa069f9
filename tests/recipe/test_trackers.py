"""Trackers receive the metrics of training runs and never interrupt them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from typer.testing import CliRunner

from latentwire import Task, Wire, train_bridge
from latentwire.core.errors import InterruptedRunError, MissingPackageError, UnknownNameError
from latentwire.core.progress import Progress
from latentwire.core.run_folder import RunFolder
from latentwire.train import Processes, train_seeds
from latentwire.train.metrics_log import MetricsLog
from latentwire.train.trackers import TRACKERS, Tracker, Trackers
from latentwire.train.trackers import group as group_module
from telepathy.cli.main import app

SHORT: dict[str, Any] = {"steps": 3, "batch_size": 4, "eval_every": 3, "save_every": 3}


class Recorder(Tracker):
    """Tracker that records its calls and can fail."""

    package = "none"

    def __init__(self, fails_at: str = "") -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.fails_at = fails_at

    def _tell(self, *what: Any) -> None:
        print("a greeting")
        self.calls.append(what)
        if what[0] == self.fails_at:
            raise ConnectionError("no route to host")

    def start(self, name: str, folder: Path, config: Mapping[str, Any]) -> None:
        assert folder.is_dir()
        self._tell("start", name, dict(config))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._tell("log", step, dict(values))

    def finish(self, completed: bool) -> None:
        self._tell("finish", completed)


class Lines(Progress):
    """Progress that records lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_tracker_receives_the_metrics_of_the_run_folder(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    stop_at: Callable[..., Progress],
) -> None:
    task, tracker, out = make_task(8), Recorder(), tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        train_bridge(
            fake_wire(), task, out, progress=stop_at(1), trackers=Trackers([tracker]), **SHORT
        )
    assert tracker.calls[-1] == ("finish", False)
    tracker.calls.clear()
    settings = {**SHORT, "resume": True, "progress": Progress()}
    done = train_bridge(fake_wire(), task, out, trackers=Trackers([tracker]), **settings)
    (_, name, config), *logged, finished = tracker.calls
    assert name == f"{tmp_path.name}/run" and finished == ("finish", True)
    assert config["train.steps"] == 3 and config["task.name"] == "colours"
    assert not any(isinstance(value, dict | list | None) for value in config.values())
    assert [step for _, step, _ in logged] == [2, 3, 3, 3]
    assert {"loss", "lr", "grad_norm", "terms/answer"} == logged[0][2].keys()
    assert logged[2][2]["val/loss"] == logged[3][2]["best/loss"] == done.best["loss"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("moment", ["start", "log", "finish"])
def test_failing_tracker_is_reported_once_and_turned_off(
    moment: str, fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    broken, whole, lines = Recorder(moment), Recorder(), Lines()
    found = train_seeds(
        fake_wire(),
        make_task(8),
        tmp_path / "runs",
        [0, 1],
        progress=lines,
        trackers=Trackers([broken, whole]),
        **SHORT,
    )
    assert len(found.runs) == 2
    assert [line for line in lines.lines if "Recorder" in line] == [
        "Tracker Recorder failed and is turned off; training continues. "
        "ConnectionError: no route to host"
    ]
    assert [what for what, *_ in broken.calls].count(moment) == 1 and broken.calls[-1][0] == moment
    assert [name for what, name, *_ in whole.calls if what == "start"] == [
        "runs/seed-0",
        "runs/seed-1",
    ]
    assert [call for call in whole.calls if call[0] == "finish"] == [("finish", True)] * 2


def test_only_the_first_process_logs_to_trackers(
    fake_wire: Callable[..., Wire],
    make_task: Callable[..., Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracker, run = Recorder(), SimpleNamespace(metrics=tmp_path / "metrics.jsonl")
    log = MetricsLog(run, 0, active=False, trackers=Trackers([tracker]))  # type: ignore[arg-type]
    log.write({"step": 1, "loss": 1.0})
    assert not tracker.calls
    train_bridge(fake_wire(), make_task(8), tmp_path / "run", progress=Progress(), **SHORT)
    monkeypatch.setattr(Processes, "is_first", False)
    settings = {**SHORT, "progress": Progress(), "trackers": Trackers([tracker])}
    train_bridge(fake_wire(), make_task(8), tmp_path / "run", **settings)
    assert not tracker.calls


def test_trackers_check_names_and_packages_first(
    make_task: Callable[..., Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TRACKERS.names() == ["mlflow", "tensorboard", "trackio", "wandb"]
    monkeypatch.setattr(group_module, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install mlflow wandb \(or pip install"):
        Trackers.of(["mlflow", "wandb"])
    with pytest.raises(UnknownNameError, match="Did you mean 'tensorboard'"):
        Trackers.of(["tensorbord"])
    make_task(8)
    words = ["train", "--pair", "fake", "--task", str(tmp_path / "colours.yaml")]
    for command in (words, ["baselines", *words[1:]]):
        done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "x"), "--log-to", "nope"])
        assert "Unknown tracker 'nope'" in str(done.exception) and not (tmp_path / "x").exists()


def _run_on(monkeypatch: pytest.MonkeyPatch, name: str, folder: Path, completed: bool) -> MagicMock:
    """Return the calls of a short run to the package of a tracker."""
    package = MagicMock()
    package.__spec__ = MagicMock()
    monkeypatch.setitem(sys.modules, name, package)
    trackers = Trackers.of([name])
    said: list[str] = []

    def run() -> None:
        with trackers.run(
            folder, {"train": {"lr": 0.1, "layers": [1, 2], "limit": None}}, said.append
        ):
            trackers.log(1, {"loss": 2.0, "terms": {"kd(t=2)": 1.0}})
            if not completed:
                raise KeyboardInterrupt

    if completed:
        run()
    else:
        with pytest.raises(KeyboardInterrupt):
            run()
    assert not said
    return package


@pytest.mark.parametrize("completed", [True, False])
def test_mlflow(completed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(variable, raising=False)
    asked = _run_on(monkeypatch, "mlflow", tmp_path, completed)
    asked.set_experiment.assert_called_once_with("latentwire")
    asked.log_params.assert_called_once_with({"train.lr": "0.1", "train.layers": "[1, 2]"})
    asked.log_metrics.assert_called_once_with({"loss": 2.0, "terms/kd_t_2_": 1.0}, step=1)
    asked.end_run.assert_called_once_with("FINISHED" if completed else "FAILED")


@pytest.mark.parametrize("name", ["wandb", "trackio"])
@pytest.mark.parametrize("completed", [True, False])
def test_wandb_and_trackio(
    name: str, completed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "own")
    asked = _run_on(monkeypatch, name, tmp_path, completed)
    given = asked.init.call_args.kwargs
    assert given["project"] == ("own" if name == "wandb" else "latentwire")
    assert given["config"] == {"train.lr": 0.1, "train.layers": "[1, 2]"}
    run = asked.init.return_value
    run.log.assert_called_once_with({"loss": 2.0, "terms/kd(t=2)": 1.0}, step=1)
    how = {"exit_code": 0 if completed else 1} if name == "wandb" else {}
    run.finish.assert_called_once_with(**how)


def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = MagicMock()
    inner = SimpleNamespace(SummaryWriter=MagicMock(return_value=writer))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", inner)  # type: ignore[arg-type]
    _run_on(monkeypatch, "tensorboard", tmp_path, True)
    inner.SummaryWriter.assert_called_once_with(str(tmp_path / "tensorboard"))
    writer.add_scalar.assert_any_call("loss", 2.0, 1)
    assert "train.lr: 0.1" in writer.add_text.call_args.args[1]
    writer.close.assert_called_once_with()
    # A run that is replaced leaves no curves among those of the new one.
    run = RunFolder(tmp_path)
    run.tensorboard.mkdir()
    run.start({"setting": {}}, resume=False, overwrite=True)
    assert not run.tensorboard.exists()
