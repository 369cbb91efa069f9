"""The command line: one object of JSON, one line per error, the right exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from latentwire import Task
from telepathy.cli import doctor
from telepathy.cli.main import main

ROOT = Path(__file__).parents[2]
TRAIN = ["train", "--pair", "fake", "--steps", "4", "--batch-size", "4", "--soft-tokens", "4"]


@pytest.fixture
def run(
    own_cache: Path, make_task: Callable[..., Task], tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `latentwire` in a folder that has `colours.yaml` and its data."""
    make_task(16)

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "telepathy.cli", *arguments],
            cwd=tmp_path,
            env=_environment(own_cache),
            capture_output=True,
            text=True,
        )

    return call


def _environment(cache: Path) -> dict[str, str]:
    """Environment of a command that runs this checkout, wherever it is installed from."""
    own = {"PYTHONPATH": str(ROOT), "LATENTWIRE_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **own}


def _one_line_error(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in done.stderr
    return errors[0]


def test_train_eval_and_reuse(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    trained = run(*TRAIN, "--task", "colours.yaml", "--out", "run", "--json")
    assert trained.returncode == 0, trained.stderr
    found = json.loads(trained.stdout)
    assert found["n_train"] == 16 and found["pair"]["sender"] == "fake-llama"

    evaluated = run("eval", "--run", "run", "--relay-limit", "4", "--timed", "1", "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    results = json.loads(evaluated.stdout)
    assert results["n"] == 24 and 0 <= results["methods"]["bridge"]["accuracy"]["value"] <= 1
    assert {"task", "split", "n", "pair", "methods", "comparisons", "run"} <= results.keys()

    table = run("eval", "--run", "run", "--method", "bridge", "--method", "zero", "--timed", "0")
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    assert table.returncode == 0 and "bridge" in table.stdout and "altered" in table.stdout

    coarse = run(*"eval --run run --codec lowrank --method bridge --timed 0 --json".split())
    assert coarse.returncode == 0, coarse.stderr
    found = json.loads(coarse.stdout)
    assert found["asked"]["codec"] == "lowrank" and results["asked"]["codec"] == "fp16"
    assert found["run"] is None  # the whole evaluation in the run's folder stays
    assert any("written as lowrank of rank 48" in note for note in found["notes"])

    again = run(*TRAIN, "--task", "colours.yaml", "--out", "run")
    assert "already contains a run" in _one_line_error(again, 2)
    (tmp_path / "run" / "bridge" / "model.safetensors").write_bytes(b"broken")
    assert "damaged" in _one_line_error(run("eval", "--run", "run"), 1)


def test_several_seeds_of_a_preset(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    flags = "--task colours.yaml --out runs --preset mine --seeds 0,1 --ema 0.9 --json".split()
    done = run(*TRAIN, *flags, "--diversity-weight", "0.1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["seeds"].keys() == {"0", "1"} and found["sd"]["loss"] > 0
    assert json.loads((tmp_path / "runs" / "summary.json").read_text())["mean"] == found["mean"]
    config = json.loads((tmp_path / "runs" / "seed-1" / "config.json").read_text())
    assert config["setting"]["train"]["loss"] == "answer+0.1*mine+0.1*diversity"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["train", "--task", "bcc_news", "--out", "x"], 2, "Did you mean 'bbc_news'"),
        ([*TRAIN, "--task", "colours.yaml", "--out", "x", "--bridge", "percever"], 2, "perceiver"),
        (["train", "--task", "colours.yaml", "--out", "x", "--sender", "nope"], 2, "Unknown model"),
        ([*TRAIN, "--task", "none.yaml", "--out", "x"], 1, "Cannot read the task file"),
        ([*TRAIN, "--task", "colours.yaml", "--out", "x", "--lr", "-1"], 2, "train.lr"),
        ([*TRAIN, "--task", "colours.yaml", "--out", "x", "--layer", "77"], 2, "layers given: 77"),
        ([*TRAIN, "--task", "colours.yaml", "--out", "x", "--loss", "kdd"], 2, "mean 'kd'"),
        ([*TRAIN, "--task", "colours.yaml", "--out", "x", "--preset", "mime"], 2, "mean 'mine'"),
        (
            [*TRAIN, "--task", "colours.yaml", "--out", "x", "--seeds", "0,b"],
            2,
            "comma-separated whole numbers",
        ),
        ([*TRAIN, "--task", "colours.yaml", "--out", "x", "--set", "widht=3"], 2, "no option"),
        (
            "train --task squad --out x --loss kd_sender --shard-receiver".split(),
            2,
            "compares distributions over an example's choices, but squad has free-form answers",
        ),
        (["train", "--task", "sst2", "--out", "x", "--shard-receiver"], 2, "nproc-per-node"),
        (["eval", "--run", "nowhere"], 1, "No bridge in"),
        (["eval", "--task", "colours.yaml", "--method", "zerosot_sender"], 2, "zeroshot_sender"),
        (["eval"], 2, "Give --run"),
        (["eval", "--run", "x", "--codec", "int5"], 2, "Unknown codec 'int5'. Did you mean"),
        (["eval", "--task", "colours.yaml", "--codec", "int8"], 2, "give --run"),
        (["eval", "--task", "colours.yaml", "--method", "zero"], 2, "'zero' needs a trained"),
        (
            [
                "eval",
                "--task",
                "colours.yaml",
                "--sender",
                "some/model",
                "--method",
                "zeroshot_sender",
            ],
            1,
            "Cannot load 'some/model' from the hub",
        ),
    ],
)
def test_mistakes_are_one_clear_line(
    run: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    assert words in _one_line_error(run(*arguments), code)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_saves_and_resume_finishes(
    run: Callable[..., subprocess.CompletedProcess[str]],
    own_cache: Path,
    tmp_path: Path,
    number: signal.Signals,
    code: int,
) -> None:
    command = [*TRAIN, "--task", "colours.yaml", "--out", "run", "--steps", "60"]
    process = subprocess.Popen(
        [sys.executable, "-m", "telepathy.cli", *command],
        cwd=tmp_path,
        env=_environment(own_cache),
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.is_file() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code and "--resume" in errors, errors
    assert run(*command, "--resume").returncode == 0


def test_ctrl_c_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", interrupted)
    monkeypatch.setattr(sys, "argv", ["latentwire", "doctor"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 130
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("error: Stopped by Ctrl-C")


def test_lists_and_doctor(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    tasks = json.loads(run("tasks", "--json").stdout)["tasks"]
    assert {"bbc_news", "sst2", "ag_news", "tweet_sentiment"} <= {t["name"] for t in tasks}
    kinds = json.loads(run("bridges", "--pair", "paper", "--json").stdout)["bridges"]
    sizes = {k["kind"]: k["n_parameters"] for k in kinds}
    assert sizes["mean_pool"] == 4096 * 4096 + 8 * 4096 and "perceiver" in sizes
    assert "mean_pool" in run("bridges").stdout
    assert "torch" in json.loads(run("doctor", "--json").stdout)["versions"]
    shown = run("tasks", "show", "colours.yaml", "--pair", "fake")
    assert "Article" not in shown.stdout and "[soft tokens]" in shown.stdout
    checked = run("tasks", "check", "colours.yaml")
    assert checked.returncode == 0 and "no mistakes" in checked.stdout
