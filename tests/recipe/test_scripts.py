"""The scripts keep the flags that their users know."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from latentwire import Task

ROOT = Path(__file__).parents[2]


Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def call(own_cache: Path, make_task: Callable[..., Task], tmp_path: Path) -> Call:
    """Run a script in a folder that has `colours.yaml` and its data."""
    make_task(16)
    own = {"PYTHONPATH": str(ROOT), "LATENTWIRE_CACHE": str(own_cache), "OMP_NUM_THREADS": "1"}

    def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "telepathy" / script), *arguments],
            cwd=tmp_path,
            env={**os.environ, **own},
            capture_output=True,
            text=True,
        )

    return run


def test_train_and_eval_scripts(call: Call, tmp_path: Path) -> None:
    flags = (
        "--dataset colours.yaml --source_model fake-llama --target_model fake-gemma "
        "--source_layer 2 --soft_tokens 4 --depth 2 --heads 8 --lr 2e-4 --batch_size 4 "
        "--grad_accum 1 --steps 3 --warmup_steps 1 --diversity_weight 0.1 "
        "--bridge_type perceiver --seed 42 --eval_every 3 --save_every 3 --output_dir run"
    ).split()
    trained = call("train_telepathy.py", *flags)
    assert trained.returncode == 0, trained.stderr
    setting = json.loads((tmp_path / "run" / "config.json").read_text())["setting"]
    assert setting["train"]["seed"] == 42 and setting["train"]["loss"] == "answer+0.1*diversity"
    assert setting["wire"]["options"] == {"depth": 2, "heads": 8}

    evaluated = call(
        "eval_telepathy.py",
        *"--checkpoint run --num_samples 6 --output_dir out --json".split(),
    )
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["n"] == 6
    assert (tmp_path / "out" / "results.json").is_file()

    wrong = call("train_telepathy.py", "--dataset", "nope", "--output_dir", "x")
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: Unknown task 'nope'")
    assert call("eval_telepathy.py").returncode == 2


def test_baseline_script_takes_earlier_names_and_epochs(call: Call, tmp_path: Path) -> None:
    flags = (
        "--baseline zeroshot --dataset colours.yaml --source_model fake-llama --target_model "
        "fake-gemma --seeds 3 --max_samples 4 --max_train_samples 8 --batch_size 4 --epochs 2 "
        "--output_dir out"
    ).split()
    done = call("run_baselines.py", *flags)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(found["methods"]) == ["zeroshot_sender", "zeroshot_receiver"] and found["n"] == 4
    assert "zeroshot_receiver" in (tmp_path / "out" / "table.md").read_text()
    both = call("run_baselines.py", *flags, "--steps", "2")
    assert both.returncode == 2 and "--steps or --epochs" in both.stderr
