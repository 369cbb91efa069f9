"""One declaration of every option: validation, precedence, fingerprints and command lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from pydantic import ValidationError

from latentwire.core.errors import ConfigError, DataError, UnknownNameError
from telepathy.cli.config_options import describe, group_of, layers
from telepathy.cli.main import app
from telepathy.experiments.config import (
    FILE,
    SECTIONS,
    SHORT_NAMES,
    build_config,
    dotted_keys,
    read_config,
    replace,
)

FIELDS = [f"{section}.{name}" for section, model in SECTIONS.items() for name in model.model_fields]


def test_build_config_reports_all_mistakes_with_dotted_keys() -> None:
    with pytest.raises(ConfigError) as caught:
        build_config({"task.name": "sst2", "train": {"lr": -1, "stepz": 3}, "wire.layer": ["a"]})
    message = str(caught.value)
    for words in ("train.lr: Input should be greater than 0", "train.stepz: Unknown key 'stepz'",
                  "Did you mean 'steps'", "wire.layer.0: "):  # fmt: skip
        assert words in message
    with pytest.raises(ConfigError, match="task: missing"):
        build_config({})
    with pytest.raises(ConfigError, match="needs the section 'benchmark'"):
        build_config({"kind": "benchmark", "task.name": "sst2"})


def test_check_reports_all_unknown_names() -> None:
    names = {"wire.bridge": "percever", "wire.codec": "int5", "eval.methods": "brige"}
    config = build_config({"task.name": "sst2"}, names, {"log_to": ["nope"], "pair.name": "no"})
    with pytest.raises(ConfigError) as caught:
        config.check()
    for key in ("wire.bridge", "wire.codec", "eval.methods", "log_to", "pair.name"):
        assert f"{key}: Unknown " in str(caught.value)


def test_later_layers_take_precedence(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("train: {steps: 7, lr: 0.1}\nsoft_tokens: 4\nwire.bridge: mlp\nkind: bridge\n")
    config = build_config({"task.name": "sst2"}, layers(file, {"train.steps": 9}))
    assert (config.train.steps, config.train.lr) == (9, 0.1)
    assert (config.wire.soft_tokens, config.wire.bridge) == (4, "mlp")
    file.write_text("stepz: 3\n")
    with pytest.raises(UnknownNameError, match="Did you mean 'steps'"):
        layers(file, {})


def test_dotted_keys_reads_short_dotted_and_nested_names() -> None:
    options = {"pair": "fake", "set": ["width=8"], "train": {"lr": 1.0}, "eval.limit": 3}
    assert dotted_keys(options) == {
        "pair.name": "fake",
        "wire.options": {"width": 8},
        "train.lr": 1.0,
        "eval.limit": 3,
    }
    assert set(SHORT_NAMES.values()) - {"log_to"} <= set(FIELDS)


def test_replace_changes_only_what_it_names() -> None:
    config = build_config({"task.name": "sst2", "wire.options": {"width": 8}})
    changed = replace(config, {"train.lr": 1e-4, "wire.options.depth": 2})
    assert changed.train.lr == 1e-4 and changed.wire.options == {"width": 8, "depth": 2}
    assert replace(changed, {"train.lr": config.train.lr}).train == config.train
    with pytest.raises(ConfigError, match=r"train\.lr: "):
        replace(config, {"train.lr": 0})
    with pytest.raises(ValidationError):
        config.kind = "baselines"


def test_fingerprint_depends_on_used_options_and_defaults() -> None:
    config = build_config({"task.name": "sst2"})
    same = {"task.file": "/elsewhere/sst2.yaml", "log_to": ["mlflow"], "eval.shots": 9}
    assert replace(config, same).fingerprint == config.fingerprint
    for change in ({"train.seed": 1}, {"pair.name": "fake"}, {"kind": "baselines"}):
        assert replace(config, change).fingerprint != config.fingerprint
    assert config.resolved()["pair"]["receiver"] == "gemma3-270m"
    assert replace(config, {"pair.name": "embedded"}).fingerprint == config.fingerprint
    assert config.resolved()["train"] == config.train.model_dump()  # defaults included


def test_read_config_reads_its_file_else_the_record(tmp_path: Path) -> None:
    config = build_config({"task.name": "sst2", "task.file": "x.yaml", "eval.methods": "bridge"})
    with pytest.raises(DataError, match="Cannot read"):
        read_config(tmp_path)
    (tmp_path / "record.json").write_text(json.dumps({"config": config.resolved()}))
    assert read_config(tmp_path).fingerprint == config.fingerprint
    config.write(tmp_path)
    assert read_config(tmp_path) == config
    (tmp_path / FILE).unlink()
    (tmp_path / "record.json").write_text(json.dumps({"config": {"task": "sst2", "lr": 1}}))
    with pytest.raises(ConfigError, match="no configuration that can be executed"):
        read_config(tmp_path)


@pytest.mark.parametrize("key", FIELDS)
def test_every_option_has_help_text(key: str) -> None:
    assert describe(key).endswith(".") and group_of(key)


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (
            "train",
            "task out pair sender receiver preset bridge loss soft-tokens layer sender-prompt "
            "setting prompt max-tokens set steps batch-size grad-accum lr warmup-steps "
            "weight-decay clip-norm diversity-weight mixing ema patience init precision recompute "
            "compile shard-receiver train-limit val-limit eval-every save-every keep seed seeds "
            "log-to device dtype resume overwrite json config",
        ),
        (
            "eval",
            "run method task pair sender receiver sender-prompt setting codec split limit "
            "relay-limit prompt-val-limit controls no-controls timed seed out device dtype json "
            "encoding config",
        ),
        (
            "baselines",
            "task methods seeds split limit relay-limit pair sender receiver bridge soft-tokens "
            "layer sender-prompt setting max-tokens steps batch-size lr train-limit val-limit "
            "eval-every prompt-val-limit shots relay-tokens compressed-bytes lora-rank other-run "
            "out log-to device dtype json config",
        ),
    ],
)
def test_commands_keep_their_flags(command: str, flags: str) -> None:
    found = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    known = {flag for p in found.params for flag in (*p.opts, *p.secondary_opts)}
    assert {f"--{flag}" for flag in flags.split()} <= known
