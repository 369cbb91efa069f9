"""The JSON fields that other people's scripts read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from latentwire import Task
from telepathy.cli.main import app

RESULTS = {
    *("task", "split", "n", "metric", "chance", "asked", "pair", "methods", "comparisons"),
    *("verdicts", "checks", "notes", "run", "environment"),
}
METHOD = {"about", "accuracy", "metrics", "unparsed", "bytes", "ms_per_example", "settings"}
SCORE = {"value", "ci_low", "ci_high", "n", "n_seeds"}
COMPARISON = {"a", "b", "difference", "ci_low", "ci_high", "p_value", "p_adjusted", "n", "test"}
TRAIN = {"task", "pair", "n_train", "n_cut", "n_steps", "train_s", "val", "run"}
LATENCY = {
    *("methods", "speedup_vs_text_relay", "relay_tokens", "lower_bound_ms"),
    *("ratio_to_lower_bound", "ratio_to_bare_sum"),
}


@pytest.fixture
def call(own_cache: Path, make_task: Callable[..., Task], tmp_path: Path) -> Callable[..., Any]:
    """Run a command in this process and return its JSON object."""
    make_task(16)
    task = str(tmp_path / "colours.yaml")

    def run(command: str) -> Any:
        words = [word.format(task=task, folder=tmp_path) for word in command.split()]
        done = CliRunner().invoke(app, [*words, "--json"])
        assert done.exit_code == 0, done.exception
        return json.loads(done.stdout)

    return run


def _check_results(found: dict[str, Any]) -> None:
    assert found.keys() >= RESULTS and {"sender", "receiver"} <= found["pair"].keys()
    for row in found["methods"].values():
        assert row.keys() >= METHOD and row["accuracy"].keys() >= SCORE
        assert 0 <= row["accuracy"]["value"] <= 1
    assert found["comparisons"]
    assert all(comparison.keys() >= COMPARISON for comparison in found["comparisons"])


def test_train_and_eval_keep_their_json(call: Callable[..., Any]) -> None:
    options = "--pair fake --steps 2 --batch-size 4 --soft-tokens 4"
    trained = call("train --task {task} --out {folder}/run " + options)
    assert trained.keys() >= TRAIN
    found = call(
        "eval --run {folder}/run --method bridge --method zero --method zeroshot_receiver "
        "--limit 6 --timed 1 --prompt-val-limit 4"
    )
    _check_results(found)
    assert found["methods"]["bridge"]["ms_per_example"]["p50"] > 0


def test_baselines_keep_their_json(call: Callable[..., Any]) -> None:
    found = call(
        "baselines --task {task} --out {folder}/suite --pair fake --methods bridge,zero --seeds "
        "0,1 --limit 6 --steps 2 --batch-size 4 --soft-tokens 4"
    )
    _check_results(found)


def test_bench_latency_keeps_its_json(call: Callable[..., Any]) -> None:
    found = call(
        "bench latency --pair fake --lengths 1 --relay-tokens 2 --batch-sizes 1 --rounds 1"
    )
    assert found.keys() >= LATENCY


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        ("tasks", {"tasks"}),
        ("bridges", {"bridges", "pair", "soft_tokens"}),
        ("doctor", {"device", "dtype", "versions", "embedded_models", "cache", "disk_free_gb"}),
    ],
)
def test_lists_keep_their_json(call: Callable[..., Any], command: str, fields: set[str]) -> None:
    assert fields <= call(command).keys()
