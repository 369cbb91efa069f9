"""Suites: their files expand to experiments, and every mistake is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentwire.core.errors import ConfigError, UnknownNameError
from telepathy.experiments.config import build_config, read_config
from telepathy.experiments.suites import expand, load_suite, suite_names

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
def test_expand_gives_executable_experiments(
    name: str, scale: str, least: int, tmp_path: Path
) -> None:
    experiments = expand(load_suite(name, scale), tmp_path)
    assert len({e.name for e in experiments}) == len(experiments) >= least
    for experiment in experiments:
        experiment.config.write(experiment.folder)
        assert read_config(experiment.folder) == experiment.config
        assert build_config(experiment.config.resolved()).fingerprint[:12] == experiment.key[-12:]
        assert experiment.command[:3] == ["python", "-m", "telepathy.run"]
        assert Path(experiment.command[3]) == experiment.result_file.parent
        experiment.config.check()


def test_load_suite_suggests_names() -> None:
    assert {"reasoning_final", "smoke"} <= set(suite_names())
    with pytest.raises(UnknownNameError, match="Did you mean 'smoke'"):
        load_suite("smok")
    with pytest.raises(UnknownNameError, match="Known: full, small"):
        load_suite("smoke", "large")


def test_load_suite_reports_all_mistakes_together(tmp_path: Path) -> None:
    text = _GOOD.replace("mlp", "mpl").replace("sst2", "sst3").replace("steps", "stepz")
    text += "scales: {small: {settings: {limit: [1, 2]}, bridges: {main: {of: x}}}}\n"
    with pytest.raises(ConfigError) as caught:
        load_suite(_write(tmp_path, text))
    message = str(caught.value)
    for words in ("bridges.main.bridge: Unknown bridge 'mpl'", "Did you mean 'mlp'", "sst3",
                  "settings.stepz", "scales.small: bridges.main.of: Unknown key"):  # fmt: skip
        assert words in message


def test_settings_hold_for_baselines_too(tmp_path: Path) -> None:
    text = _GOOD.replace("steps: 5", "warmup_steps: 5") + "baselines: {all: {}}\n"
    for experiment in expand(load_suite(_write(tmp_path, text)), Path("runs")):
        assert experiment.config.train.warmup_steps == 5
    text = text.replace("warmup_steps: 5", "set: [width=8]")
    with pytest.raises(ConfigError, match=r"settings\.set: Unknown option for baselines"):
        load_suite(_write(tmp_path, text))


@pytest.mark.parametrize("steps", ["train.steps: 7", "train: {steps: 7}", "steps: 7"])
def test_settings_take_short_dotted_and_nested_keys(steps: str, tmp_path: Path) -> None:
    text = _GOOD.replace("steps: 5", f"{steps}, wire: {{options: {{width: 16}}}}")
    first, *_ = expand(load_suite(_write(tmp_path, text)), Path("runs"))
    assert first.config.train.steps == 7 and first.config.wire.options == {"width": 16}
    assert first.config.pair.name == "fake"


def test_wrong_values_are_reported_where_they_are_given(tmp_path: Path) -> None:
    text = _GOOD.replace("steps: 5", "steps: 0, seed: 3").replace(
        "[2, 4]}}", "[2], options: {lr: -1, split: tset}}}"
    )
    with pytest.raises(ConfigError) as caught:
        load_suite(_write(tmp_path, text))
    for words in ("settings.steps: Input should be greater", "settings.seed: options cannot set",
                  "bridges.main.options.lr: ", "bridges.main.options.split: "):  # fmt: skip
        assert words in str(caught.value)


def test_expand_gives_changed_options_a_new_key(tmp_path: Path) -> None:
    first = expand(load_suite(_write(tmp_path, _GOOD)), Path("runs"))
    second = expand(load_suite(_write(tmp_path, _GOOD.replace("5", "6"))), Path("runs"))
    assert [e.name for e in first] == [e.name for e in second]
    assert not {e.key for e in first} & {e.key for e in second}


def test_trackers_do_not_change_the_key(tmp_path: Path) -> None:
    text = _GOOD + "baselines: {all: {methods: [bridge]}}\n"
    plain = expand(load_suite(_write(tmp_path, text)), Path("runs"))
    text += "log_to: [tensorboard, mlflow]\n"
    logged = expand(load_suite(_write(tmp_path, text)), Path("runs"))
    assert [e.key for e in logged] == [e.key for e in plain]
    for experiment in logged:
        assert experiment.config.log_to == ("tensorboard", "mlflow")
    with pytest.raises(ConfigError, match=r"log_to: Unknown tracker 'nope'"):
        load_suite(_write(tmp_path, text.replace("mlflow", "nope")))


def test_section_options_set_the_codec(tmp_path: Path) -> None:
    text = _GOOD.replace("[2, 4]}}", "[2], options: {codec: int8}}, plain: {soft_tokens: [2]}}")
    *int8, plain = expand(load_suite(_write(tmp_path, text)), Path("runs"))
    for experiment in int8:
        assert experiment.config.wire.codec == "int8" and ".main." in experiment.name
    assert plain.config.wire.codec == "fp16"
    with pytest.raises(ConfigError, match=r"main\.options\.codec: Unknown codec 'int9'"):
        load_suite(_write(tmp_path, text.replace("int8", "int9")))
    # Baselines have no codec, so it cannot be a setting of all experiments.
    everywhere = text.replace("steps: 5", "steps: 5, codec: int8")
    assert load_suite(_write(tmp_path, everywhere))
    with pytest.raises(ConfigError, match=r"settings\.codec: Unknown option"):
        load_suite(_write(tmp_path, everywhere + "baselines: {all: {}}\n"))


def test_expand_merges_equal_experiments_and_rejects_clashes(tmp_path: Path) -> None:
    same = _GOOD.replace("]}}", "]}, more: {bridge: [mlp], soft_tokens: [2]}}")
    assert len(expand(load_suite(_write(tmp_path, same)), Path("runs"))) == 4
    other = same.replace("[2]}}", "[2], methods: [bridge]}}")
    with pytest.raises(ConfigError, match=r"mine\.sst2\.mlp\.k2\.s0, with different"):
        expand(load_suite(_write(tmp_path, other)), Path("runs"))


def test_expand_lets_benchmarks_wait_for_their_bridge(tmp_path: Path) -> None:
    text = _GOOD + "benchmarks: {cost: {kinds: [latency], of: main, options: {rounds: 2}}}\n"
    *bridges, bench = expand(load_suite(_write(tmp_path, text)), Path("runs"))
    assert bench.name == "mine.sst2.bench-latency" and bench.needs == (bridges[0].key,)
    assert bench.alone and bench.config.benchmark is not None
    assert bench.config.benchmark.run == bridges[0].key
    assert bench.config.benchmark.options["rounds"] == 2
    assert bench.config.benchmark.options["relay_tokens"] == 64
    with pytest.raises(ConfigError, match=r"cost\.options: Unknown option of bench latency"):
        load_suite(_write(tmp_path, text.replace("rounds", "round")))
