"""The interface that other people's scripts call: it may be extended, never reduced."""

from __future__ import annotations

import argparse
import inspect
import sys
from typing import Any

import pytest
import typer

import latentwire
from latentwire.bridge import BRIDGES
from latentwire.core.catalogue import Catalogue
from latentwire.core.errors import (
    InterruptedRunError,
    LatentWireError,
    RequeueError,
    UsageError,
)
from latentwire.eval.method import METHODS
from latentwire.objectives.base import OBJECTIVES
from latentwire.train.trackers import TRACKERS
from latentwire.wire.codecs import CODECS
from telepathy import eval_telepathy, run_baselines, run_benchmarks, train_telepathy
from telepathy.cli import experiment_manager
from telepathy.cli.errors import run_guarded
from telepathy.cli.main import app
from telepathy.experiment_registry import parser as registry_parser

MODEL = "--pair --sender --receiver --device --dtype"
COMMANDS = {
    "demo": "--out --fresh --json",
    "train": f"--task {MODEL} --preset --bridge --loss --soft-tokens --layer --sender-prompt "
    "--setting --prompt --max-tokens --set --steps --batch-size --grad-accum --lr --warmup-steps "
    "--weight-decay --clip-norm --diversity-weight --mixing --ema --patience --init --precision "
    "--recompute --compile --shard-receiver --train-limit --val-limit --eval-every --save-every "
    "--keep --seed --seeds --log-to --out --resume --overwrite --json",
    "eval": f"--run --method --task {MODEL} --sender-prompt --setting --codec --split --limit "
    "--relay-limit --prompt-val-limit --controls --no-controls --timed --seed --out --json",
    "baselines": f"--task --methods --seeds --split --limit --relay-limit {MODEL} --bridge "
    "--soft-tokens --layer --sender-prompt --setting --max-tokens --steps --batch-size --lr "
    "--train-limit --val-limit --eval-every --prompt-val-limit --shots --relay-tokens "
    "--compressed-bytes --lora-rank --other-run --out --log-to --json",
    "bench latency": "--run --pair --random-weights --soft-tokens --layer --input-tokens --lengths "
    "--relay-tokens --batch-sizes --rounds --device --dtype --compile --out --json",
    "bench memory": "--run --pair --batch-size --out --json",
    "bench throughput": "--run --pair --batch-sizes --input-lengths --many --rounds --out --json",
    "bench wire": "--run --codecs --ranks --split --limit --out --json",
    "bench train": "--run --pair --batch-size --rounds --out --json",
    "runs status": "--registry --json",
    "runs list": "STATE --registry --json",
    "runs show": "NAME --registry --json",
    "runs rerun": "NAME --reason --class --registry --json",
    "runs validate": "--registry --json",
    "runs rebuild": "--runs-dir --registry --json",
    "runs merge": "FILES --registry --json",
    "runs analyze": "--out --apply-fixes --yes --registry --json",
    "submit": "SUITE --scale --local --jobs --profile --account --partition --time --gpus --push "
    "--registry --dry-run --json",
    "tasks": "--json",
    "tasks show": "TASK --example --split --sender-prompt --setting --pair --max-tokens --json",
    "tasks check": "PATH --json",
    "bridges": "--pair --json",
    "doctor": "--json",
}
SCRIPTS = {
    train_telepathy.parser: "--source_model --target_model --gpu --dataset --output_dir "
    "--source_layer --soft_tokens --depth --heads --bridge_type --loss --lr --batch_size "
    "--grad_accum --steps --warmup_steps --diversity_weight --eval_every --save_every --seed "
    "--log_to --resume",
    eval_telepathy.parser: "--source_model --target_model --gpu --checkpoint --dataset "
    "--output_dir --num_samples --json",
    run_baselines.parser: "--source_model --target_model --gpu --baseline --dataset --output_dir "
    "--shots --rank --epochs --steps --batch_size --soft_tokens --seeds --max_samples "
    "--max_train_samples",
    run_benchmarks.parser: "--benchmark --checkpoint --pair --random_weights --gpu --batch_sizes "
    "--soft_tokens --rounds --output_dir --json",
    experiment_manager.parser: "--registry --json --status --list --details --mark-rerun "
    "--mark-rerun-all-failed --validate --rebuild-registry --recent-failures --merge --analyze "
    "--apply-fixes --yes --out --reason --class --runs-dir",
}
REGISTRY_COMMANDS = "should_run add start complete fail preempt heartbeat run summary merge-driver"
PYTHON = {
    "Wire": "build from_pretrained save answer send read",
    "Encoder": "from_pretrained encode",
    "Decoder": "from_pretrained answer read read_all",
    "Message": "to_bytes",
}


def _parameters(command: Any) -> set[str]:
    names: set[str] = set()
    for each in command.params:
        is_argument = each.param_type_name == "argument"
        names |= {each.name.upper()} if is_argument else {*each.opts, *each.secondary_opts}
    return names


@pytest.mark.parametrize("name", COMMANDS)
def test_command_keeps_its_options(name: str) -> None:
    command: Any = typer.main.get_command(app)
    for word in name.split():
        command = command.commands[word]
    assert set(COMMANDS[name].split()) <= _parameters(command)


def test_every_option_has_a_help_text() -> None:
    def commands(command: Any, name: str) -> list[tuple[str, Any]]:
        inner = getattr(command, "commands", {})
        found = [pair for key, each in inner.items() for pair in commands(each, f"{name} {key}")]
        return [(name, command), *found]

    missing = [
        f"{name} {parameter.name}"
        for name, command in commands(typer.main.get_command(app), "latentwire")
        for parameter in command.params
        if not parameter.hidden and not parameter.help
    ]
    assert not missing


@pytest.mark.parametrize("parser", SCRIPTS, ids=lambda parser: parser.__module__)
def test_script_keeps_its_flags(parser: Any) -> None:
    flags = {flag for action in parser()._actions for flag in action.option_strings}
    assert set(SCRIPTS[parser].split()) <= flags


def test_registry_script_keeps_its_commands() -> None:
    actions = registry_parser()._actions
    commands = next(a for a in actions if isinstance(a, argparse._SubParsersAction))
    assert set(REGISTRY_COMMANDS.split()) <= set(commands.choices)


def test_python_names_are_there() -> None:
    needed = {
        *("Answer", "Example", "LatentWireError", "Message", "Task", "TrainConfig", "Wire"),
        *("Decoder", "Encoder", "evaluate", "load_task", "send_to_all", "train_bridge"),
    }
    assert needed <= set(latentwire.__all__)
    for name in latentwire.__all__:
        assert inspect.getdoc(getattr(latentwire, name)), name
    for name, attributes in PYTHON.items():
        for attribute in attributes.split():
            assert callable(getattr(getattr(latentwire, name), attribute))


@pytest.mark.parametrize(
    ("catalogue", "groups"),
    [
        (BRIDGES, {"latentwire.bridges", "latentwire.bridge.kinds"}),
        (METHODS, {"latentwire.methods", "latentwire.baselines.methods"}),
        (OBJECTIVES, {"latentwire.objectives", "latentwire.objectives.kinds"}),
        (TRACKERS, {"latentwire.trackers", "latentwire.sinks.kinds"}),
        (CODECS, {"latentwire.codecs"}),
    ],
)
def test_entry_point_groups_are_read(catalogue: Catalogue[Any], groups: set[str]) -> None:
    assert groups <= set(catalogue._groups)


def test_main_method_is_called_bridge() -> None:
    assert METHODS.get("bridge").name == "bridge"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LatentWireError("x"), 1),
        (UsageError("x"), 2),
        (RequeueError("x"), 75),
        (InterruptedRunError("x"), 130),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_keep_their_exit_codes(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as left:
        run_guarded(fail)
    assert left.value.code == code
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("error: ") and shown.err.count("\n") == 1


def test_help_lists_all_commands_in_groups(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["latentwire", "--help"])
    monkeypatch.setenv("COLUMNS", "90")
    with pytest.raises(SystemExit) as left:
        run_guarded(app)
    shown = capsys.readouterr().out
    assert left.value.code == 0 and len(shown.splitlines()) <= 45
    places = [shown.index(f"│ {name.split()[0]} ") for name in COMMANDS]
    assert all(place > shown.index("Start here") for place in places)
