"""Benchmarks on fake models: their results, and properties that hold on a busy machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from latentwire import Task, Wire, train_bridge
from latentwire.bench import BENCHMARKS
from latentwire.bench import lower_bounds as bounds
from latentwire.bench.codecs import measure_wire
from latentwire.bench.latency import measure_latency
from latentwire.bench.lower_bounds import (
    DeviceRates,
    PassCost,
    counted_pass,
    measure_device_rates,
    model_pass,
)
from latentwire.bench.memory import measure_memory
from latentwire.bench.plots import plot
from latentwire.bench.stopwatch import LatencyQuantiles, time_interleaved
from latentwire.bench.subject import ExactWriter, Subject, open_subject
from latentwire.bench.synthetic import examples_of_length
from latentwire.bench.throughput import measure_throughput
from latentwire.bench.training import measure_training
from latentwire.core.errors import (
    BridgeError,
    UnknownNameError,
    UsageError,
)
from latentwire.core.progress import Progress
from latentwire.models import load_model
from latentwire.models.random_models import random_model, random_pair, word_tokenizer
from telepathy import run_benchmarks
from telepathy.cli.main import app
from telepathy.reporting.bench_tables import show_bench

TINY = "tiny-llama,tiny-mistral"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure device rates on small matrices."""
    monkeypatch.setattr(bounds, "_SIDES", (64,))
    monkeypatch.setattr(bounds, "_BUFFER", 1 << 20)


@pytest.fixture
def subject(own_cache: Path, tmp_path: Path) -> Subject:
    """Fake models with an untrained bridge and a synthetic task."""
    folder = tmp_path / "synthetic"
    folder.mkdir()
    return open_subject(folder, pair="fake", soft_tokens=4, input_tokens=24)


@pytest.fixture
def trained(fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path) -> Path:
    """Run folder of a short training."""
    train_bridge(
        fake_wire(), make_task(32), tmp_path / "run", progress=Progress(), steps=2, batch_size=4
    )
    return tmp_path / "run"


def _json(found: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(json.dumps(found, allow_nan=False)))


def test_measure_latency_times_all_methods(
    subject: Subject, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _json(
        measure_latency(subject, lengths=(1, 6), relay_tokens=3, batch_sizes=(1, 2), rounds=2)
    )
    methods = found["methods"]
    assert methods.keys() == {
        "bridge",
        "zeroshot_receiver",
        "text_relay",
        "text_relay_1",
        "text_relay_3",
        "text_relay_6",
    }
    for row in methods.values():
        assert 0 < row["p50"] <= row["p95"] <= row["p99"] and row["n"] == 2
        assert row["ratio_to_lower_bound"] == pytest.approx(row["p50"] / row["lower_bound_ms"])
    assert found["relay_tokens"] == 3 and methods["text_relay"] == methods["text_relay_3"]
    speedup = methods["text_relay"]["p50"] / methods["bridge"]["p50"]
    assert found["speedup_vs_text_relay"] == pytest.approx(speedup)
    assert found["lower_bound_ms"] == methods["bridge"]["lower_bound_ms"] > 0
    bounds_ms = [methods[f"text_relay_{n}"]["lower_bound_ms"] for n in (1, 3, 6)]
    assert bounds_ms == sorted(bounds_ms) and bounds_ms[0] < bounds_ms[2]
    assert [point["relay_tokens"] for point in found["curve"]] == [1, 3, 6]
    assert 0 < found["bridge_share_of_bare_sum"] < 1
    assert found["bare_parts_ms"].keys() == {"sender", "bridge", "receiver"}
    assert found["batches"].keys() == {"1", "2"} and found["device"] == "cpu"
    assert found["batches"]["1"]["methods"] == methods
    show_bench(found)
    assert "text_relay_6" in capsys.readouterr().out


def test_exact_writer_writes_the_maximum_number_of_tokens() -> None:
    lm = load_model("fake-gemma")
    prompt = lm.prompt("Text: rose. Note:")
    for n in (1, 2, 9):
        (ids,) = ExactWriter(lm).generate([prompt], max_new_tokens=n, stop=("\n", "e", "a"))
        assert len(ids) == n and not {*ids} & {*lm.end_ids}


def test_examples_of_length_have_that_length(subject: Subject) -> None:
    lm = subject.lms[0]
    for n in (5, 40):
        found = examples_of_length(subject.task, lm, 70, n)
        assert {len(lm.token_ids(e.context)) for e in found} <= {n - 1, n}
        assert len({e.context for e in found}) == 70


def test_measure_throughput(subject: Subject) -> None:
    found = _json(
        measure_throughput(subject, batch_sizes=(1, 3), input_lengths=(16, 24), many=5, rounds=1)
    )
    sizes = [(point["batch_size"], point["input_tokens"]) for point in found["grid"]]
    assert sizes == [(1, 16), (3, 16), (1, 24), (3, 24)]
    for point in found["grid"]:
        assert point["texts_per_s"] == pytest.approx(1000 * point["batch_size"] / point["p50"])
        assert point["lower_bound_ms"] > 0
    growth = found["growth"][0]
    assert growth["times"] == pytest.approx(
        found["grid"][1]["texts_per_s"] / found["grid"][0]["texts_per_s"]
    )
    many = found["many"]
    assert many["n"] == 5
    assert many["speedup"] == pytest.approx(many["single_calls_ms"] / many["one_call_ms"])
    show_bench(found)


def test_measure_memory(subject: Subject) -> None:
    found = _json(measure_memory(lambda: subject, batch_size=2))
    modules = [*(lm.model for lm in subject.lms), subject.wire.bridge]
    parameters = sum(p.numel() * p.element_size() for m in modules for p in m.parameters())
    assert parameters * 0.6 < found["weights_bytes"] < found["peak_bytes"]  # heads may be shared
    assert found["lower_bound_bytes"] == found["weights_bytes"]
    assert found["peak_over_weights"] == found["peak_bytes"] / found["weights_bytes"]
    assert found["activations_bytes"] >= 0 and found["device"] == "cpu"
    show_bench(found)


def test_measure_wire_reports_bytes_and_accuracy(trained: Path, tmp_path: Path) -> None:
    subject = open_subject(tmp_path, run=trained)
    names = ["fp32", "int8", "lowrank"]
    found = _json(measure_wire([subject], codecs=names, ranks=(2, 4, 500), limit=12))
    points = {(point["codec"], point["rank"]): point for point in found["points"]}
    assert points.keys() == {("fp32", None), ("int8", None), ("lowrank", 2), ("lowrank", 4)}
    assert points["fp32", None]["bytes"] > points["int8", None]["bytes"]
    assert points["lowrank", 4]["bytes"] > points["lowrank", 2]["bytes"]
    assert points["fp32", None]["lower_bound_bytes"] == 4 * 4 * 48
    assert all(point["ratio_to_lower_bound"] > 1 for point in points.values())
    assert all(point["accuracy"]["n"] == 12 for point in points.values())
    text, label = found["methods"]["zeroshot_receiver"], found["methods"]["sender_label"]
    assert text["bytes"] > label["bytes"] > 0
    assert found["benchmark"] == "wire" and found["n"] == 12
    show_bench(found)


def test_measure_training(subject: Subject, tmp_path: Path) -> None:
    found = _json(measure_training(subject, tmp_path / "work", batch_size=4, rounds=2))
    assert found["examples_per_s"].keys() == {"ours", "plain", "bare"}
    ours = found["examples_per_s"]["ours"]
    assert ours == pytest.approx(1000 * 4 / found["median_ms"]["ours"])
    ratio = found["median_ms"]["plain"] / found["median_ms"]["ours"]
    assert found["plain_over_ours"] == pytest.approx(ratio) and found["lower_bound_ms"] > 0
    show_bench(found)


def test_measure_latency_times_the_probe_of_a_run(trained: Path, tmp_path: Path) -> None:
    (trained / "predictions.linear_probe.jsonl").write_text("")
    subject = open_subject(tmp_path, run=trained)
    found = measure_latency(subject, lengths=(1,), relay_tokens=1, batch_sizes=(1,), rounds=1)
    assert "linear_probe" in found["methods"] and found["trained"]
    assert "lower_bound_ms" not in found["methods"]["linear_probe"]


def test_lower_bounds_follow_from_device_rates() -> None:
    machine = DeviceRates("cpu", "float32", operations_per_s=1e9, bytes_per_s=1e8)
    assert machine.lower_bound_ms([PassCost(2e9, 1e8), PassCost(1e9, 3e8)]) == pytest.approx(5000)
    faster = machine.or_faster(DeviceRates("cpu", "float32", 5e8, 2e8))
    assert (faster.operations_per_s, faster.bytes_per_s) == (1e9, 2e8)
    measured = measure_device_rates(torch.device("cpu"), torch.float32)
    assert measured.operations_per_s > 0 and measured.bytes_per_s > 0
    layer = torch.nn.Linear(8, 16, bias=False)
    counted = counted_pass(layer, torch.ones(3, 8))
    assert counted == PassCost(2 * 3 * 8 * 16, 4 * 8 * 16)
    lm = load_model("fake-llama")
    one, two = (model_pass(lm, n, 1, 10) for n in (1, 2))
    assert two == PassCost(2 * one.operations, 2 * one.n_bytes)


def test_time_interleaved_alternates_the_order() -> None:
    order: list[tuple[str, int]] = []
    works = {name: lambda turn, name=name: order.append((name, turn)) for name in "ab"}
    taken = time_interleaved(works, 2)
    assert order == [("b", -1), ("a", -1), ("a", 0), ("b", 0), ("b", 1), ("a", 1)]
    assert {name: len(values) for name, values in taken.items()} == {"a": 2, "b": 2}
    assert LatencyQuantiles.of([1.0, 2.0, 3.0]).p50 == 2


def test_open_subject_with_random_weights_answers(own_cache: Path, tmp_path: Path) -> None:
    subject = open_subject(
        tmp_path, random_weights=TINY, soft_tokens=4, dtype="bfloat16", device="cpu"
    )
    assert [lm.dtype for lm in subject.lms] == [torch.bfloat16] * 2
    assert subject.wire.answer("a b c").label in subject.task.labels
    assert random_model("tiny-llama").fingerprint == random_model("tiny-llama").fingerprint
    sender, receiver = random_pair(TINY)
    assert (sender.width, receiver.width) == (32, 48) and sender.name == "random:tiny-llama"
    words = word_tokenizer(1024).decode([5, 700, 1023])
    assert word_tokenizer(768)(words, add_special_tokens=False)["input_ids"][:2] == [5, 700]
    assert len(word_tokenizer(768)(words, add_special_tokens=False)["input_ids"]) == 3


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ("latency --run nowhere", BridgeError, "No bridge in"),
        ("latency --run x --pair fake", UsageError, "not several"),
        ("latency --random-weights tiny-llama", UsageError, "two shapes"),
        ("latency --random-weights tiny-lama,tiny-llama", UnknownNameError, "mean 'tiny-llama'"),
        ("latency --pair fakes", UnknownNameError, "mean 'fake'"),
        ("latency --pair fake --lengths 0,4", UsageError, "--lengths is '0,4'"),
        ("throughput --pair fake --batch-sizes one", UsageError, "--batch-sizes is 'one'"),
        ("wire", UsageError, "give --run"),
        ("wire --run nowhere", BridgeError, "No bridge in"),
    ],
)
def test_bench_refuses_wrong_options(arguments: str, error: type[Exception], words: str) -> None:
    done = CliRunner().invoke(app, ["bench", *arguments.split()])
    assert type(done.exception) is error and words in str(done.exception)


def test_bench_refuses_unknown_benchmarks(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["bench", "latencies"]).exit_code == 2
    flags = ["--benchmark", "latencies", "--output_dir", str(tmp_path)]
    with pytest.raises(UnknownNameError, match="Did you mean 'latency'"):
        run_benchmarks.run(run_benchmarks.parser().parse_args(flags))
    with pytest.raises(UsageError, match="trained bridge"):
        measure_wire([])


def test_bench_commands_write_json(
    own_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = "bench latency --pair fake --lengths 1 --relay-tokens 2 --batch-sizes 1 --rounds 1"
    done = CliRunner().invoke(app, [*listed.split(), "--out", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    assert found["relay_tokens"] == 2
    assert json.loads((tmp_path / "out" / "bench_latency.json").read_text()) == found

    flags = f"--pair fake --batch_sizes 1 2 --rounds 1 --output_dir {tmp_path}/old --json"
    args = run_benchmarks.parser().parse_args(["--benchmark", "memory", *flags.split()])
    run_benchmarks.run(args)
    assert json.loads(capsys.readouterr().out)["batch_size"] == 2
    assert (tmp_path / "old" / "bench_memory.json").is_file()


def test_bench_compile_is_reported(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eager = partialmethod(Wire.compile, mode=None, backend="eager")  # needs no C++ compiler
    monkeypatch.setattr(Wire, "compile", eager)
    short = "--pair fake --compile --batch-sizes 1 --rounds 1 --json"
    for name, more in (
        ("latency", "--lengths 1 --relay-tokens 1 --input-tokens 16"),
        ("throughput", "--input-lengths 16 --many 0"),
    ):
        done = CliRunner().invoke(app, ["bench", name, *short.split(), *more.split()])
        assert done.exit_code == 0, done.exception
        assert json.loads(done.stdout)["compiled"] is True


def test_plot_writes_a_png(subject: Subject, trained: Path, tmp_path: Path) -> None:
    found = [
        measure_latency(subject, lengths=(1,), relay_tokens=2, batch_sizes=(1,), rounds=1),
        measure_throughput(subject, batch_sizes=(1,), input_lengths=(16,), many=0, rounds=1),
        measure_memory(lambda: subject, batch_size=1),
        measure_training(subject, tmp_path / "work", batch_size=2, rounds=1),
        measure_wire([open_subject(tmp_path, run=trained)], codecs=["fp16"], limit=4),
    ]
    assert sorted(each["benchmark"] for each in found) == list(BENCHMARKS)
    for each in found:
        path = tmp_path / f"{each['benchmark']}.png"
        plot(each, path)
        assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UnknownNameError, match="Unknown benchmark 'x'"):
        plot({"benchmark": "x"}, tmp_path / "x.png")
