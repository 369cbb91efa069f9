"""Suites as files: what they say becomes experiments, and every mistake is named."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from latentwire.core.errors import ConfigError, UnknownNameError
from telepathy.experiments.suites import commands as commands_module
from telepathy.experiments.suites import expansion as expand
from telepathy.experiments.suites import load_suite, suite_names
from telepathy.experiments.suites.commands import Flags

_GOOD = """\
name: mine
tasks: [sst2]
settings: {pair: fake, steps: 5}
bridges: {main: {bridge: [mlp, linear], soft_tokens: [2, 4]}}
"""


def _write(folder: Path, text: str) -> str:
    (folder / "mine.yaml").write_text(text)
    return str(folder / "mine.yaml")


@pytest.mark.parametrize(
    ("name", "scale", "least"),
    [("smoke", "full", 12), ("reasoning_final", "full", 60), ("reasoning_final", "small", 16)],
)
def test_own_suites_give_ordinary_commands(name: str, scale: str, least: int) -> None:
    experiments = expand(load_suite(name, scale), Path("runs"))
    assert len({e.name for e in experiments}) == len(experiments) >= least
    for experiment in experiments:
        assert experiment.result_file.parts[1] == experiment.key
        for line in experiment.lines:
            program, command, *words = shlex.split(line)
            if experiment.config["kind"] == "benchmark":
                if program == "mv":
                    continue
                command = f"{command} {words[0]}"
            assert program == "latentwire"
            known = Flags.of(command).kinds
            flags = [word[2:].replace("-", "_") for word in words if word.startswith("--")]
            assert set(flags) <= set(known)
            assert "resume" in flags or command != "train"


def test_suites_are_named() -> None:
    assert {"reasoning_final", "smoke"} <= set(suite_names())
    with pytest.raises(UnknownNameError, match="Did you mean 'smoke'"):
        load_suite("smok")
    with pytest.raises(UnknownNameError, match="Known: full, small"):
        load_suite("smoke", "large")


def test_all_mistakes_are_told_together(tmp_path: Path) -> None:
    text = _GOOD.replace("mlp", "mpl").replace("sst2", "sst3").replace("steps", "stepz")
    text += "scales: {small: {settings: {limit: [1, 2]}, bridges: {main: {of: x}}}}\n"
    with pytest.raises(ConfigError) as caught:
        load_suite(_write(tmp_path, text))
    message = str(caught.value)
    for words in ("bridges.main.bridge: Unknown bridge 'mpl'", "Did you mean 'mlp'", "sst3",
                  "settings.stepz", "scales.small: bridges.main.of: Unknown key"):  # fmt: skip
        assert words in message


def test_settings_that_one_command_would_drop_are_refused(tmp_path: Path) -> None:
    text = _GOOD.replace("steps: 5", "warmup_steps: 5")
    assert load_suite(_write(tmp_path, text)).spec.settings["warmup_steps"] == 5
    with pytest.raises(ConfigError, match=r"settings\.warmup_steps: Unknown option"):
        load_suite(_write(tmp_path, text + "baselines: {all: {}}\n"))


def test_another_setting_is_another_experiment_of_that_name(tmp_path: Path) -> None:
    first = expand(load_suite(_write(tmp_path, _GOOD)), Path("runs"))
    second = expand(load_suite(_write(tmp_path, _GOOD.replace("5", "6"))), Path("runs"))
    assert [e.name for e in first] == [e.name for e in second]
    assert not {e.key for e in first} & {e.key for e in second}


def test_where_numbers_go_is_no_part_of_an_experiment(tmp_path: Path) -> None:
    text = _GOOD + "baselines: {all: {methods: [bridge]}}\n"
    plain = expand(load_suite(_write(tmp_path, text)), Path("runs"))
    text += "log_to: [tensorboard, mlflow]\n"
    logged = expand(load_suite(_write(tmp_path, text)), Path("runs"))
    assert [e.key for e in logged] == [e.key for e in plain]
    for experiment in logged:
        assert "--log-to tensorboard,mlflow" in experiment.lines[0]
        assert not any("--log-to" in line for line in experiment.lines[1:])
    with pytest.raises(ConfigError, match=r"log_to: Unknown tracker 'nope'"):
        load_suite(_write(tmp_path, text.replace("mlflow", "nope")))


def test_a_section_may_name_the_codec_of_messages(tmp_path: Path) -> None:
    text = _GOOD.replace("[2, 4]}}", "[2], options: {codec: int8}}, plain: {soft_tokens: [2]}}")
    *int8, plain = expand(load_suite(_write(tmp_path, text)), Path("runs"))
    for experiment in int8:
        assert experiment.config["codec"] == "int8" and ".main." in experiment.name
        training, evaluation = experiment.lines
        assert "--codec int8" in evaluation and "--codec" not in training
    assert "codec" not in plain.config
    with pytest.raises(ConfigError, match=r"main\.options\.codec: Unknown codec 'int9'"):
        load_suite(_write(tmp_path, text.replace("int8", "int9")))
    # Baselines have no codec: as a setting of all it would not hold for all.
    everywhere = text.replace("steps: 5", "steps: 5, codec: int8")
    assert load_suite(_write(tmp_path, everywhere))
    with pytest.raises(ConfigError, match=r"settings\.codec: Unknown option"):
        load_suite(_write(tmp_path, everywhere + "baselines: {all: {}}\n"))


def test_sections_that_clash_are_refused_and_equal_ones_are_one(tmp_path: Path) -> None:
    same = _GOOD.replace("]}}", "]}, more: {bridge: [mlp], soft_tokens: [2]}}")
    assert len(expand(load_suite(_write(tmp_path, same)), Path("runs"))) == 4
    other = same.replace("[2]}}", "[2], methods: [bridge]}}")
    with pytest.raises(ConfigError, match=r"mine\.sst2\.mlp\.k2\.s0, with different"):
        expand(load_suite(_write(tmp_path, other)), Path("runs"))


def test_benchmarks_wait_for_their_bridge_and_for_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = _GOOD + "benchmarks: {cost: {kinds: [latency], of: main}}\n"
    table = {**commands_module._table(), "bench": {"run": "value", "json": "flag"}}
    monkeypatch.setattr(commands_module, "_table", lambda: table)
    *bridges, bench = expand(load_suite(_write(tmp_path, text)), Path("runs"))
    assert bench.name == "mine.sst2.bench-latency" and bench.needs == (bridges[0].key,)
    run = f"runs/{bridges[0].key}"
    assert bench.lines[0].startswith(f"latentwire bench latency --run {run} --json > ")
    table.pop("bench")
    assert len(expand(load_suite(_write(tmp_path, text)), Path("runs"))) == len(bridges)
