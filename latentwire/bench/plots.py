"""Plots of benchmark results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from latentwire.core.errors import UnknownNameError
from latentwire.core.files import replacing_file

_MB = 1 << 20


def plot(found: dict[str, Any], path: Path) -> None:
    """Plot the result of a benchmark.

    Args:
        found: JSON object of a benchmark.
        path: PNG file to write.
    Raises: UnknownNameError: If the benchmark is unknown.
    """
    name = found.get("benchmark", "")
    if name not in _PLOTS:
        raise UnknownNameError.of("benchmark", name, _PLOTS)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    _PLOTS[name](found, axes)
    pair = found["pair"]
    axes.set_title(f"{name}: {pair['sender']} to {pair['receiver']}, {found['device']}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    with replacing_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _latency(found: dict[str, Any], axes: Any) -> None:
    for i, (size, batch) in enumerate(found["batches"].items()):
        lengths = [point["relay_tokens"] for point in batch["curve"]]
        times = [point["p50"] for point in batch["curve"]]
        bridge, ends, color = batch["methods"]["bridge"], [lengths[0], lengths[-1]], f"C{i}"
        axes.plot(lengths, times, marker="o", color=color, label=f"text relay, batch {size}")
        axes.plot(ends, [bridge["p50"]] * 2, "--", color=color, label=f"bridge, batch {size}")
        bound = [bridge["lower_bound_ms"]] * 2
        axes.plot(ends, bound, ":", color=color, label=f"lower bound, batch {size}")
    axes.set(
        xlabel="tokens written by the relay",
        ylabel="median latency, ms",
        xscale="log",
        yscale="log",
    )
    axes.set_xticks(lengths, [str(n) for n in lengths])
    axes.grid(alpha=0.3)


def _throughput(found: dict[str, Any], axes: Any) -> None:
    for length in dict.fromkeys(point["input_tokens"] for point in found["grid"]):
        points = [point for point in found["grid"] if point["input_tokens"] == length]
        axes.plot(
            [point["batch_size"] for point in points],
            [point["texts_per_s"] for point in points],
            marker="o",
            label=f"{length} tokens per text",
        )
    axes.set(xlabel="batch size", ylabel="texts per second")
    axes.set_ylim(bottom=0)


def _memory(found: dict[str, Any], axes: Any) -> None:
    parts = ("weights_bytes", "loaded_bytes", "activations_bytes", "peak_bytes")
    axes.bar([part.removesuffix("_bytes") for part in parts], [found[p] / _MB for p in parts])
    axes.set(ylabel="MB")


def _wire(found: dict[str, Any], axes: Any) -> None:
    for k in dict.fromkeys(point["soft_tokens"] for point in found["points"]):
        points = [point for point in found["points"] if point["soft_tokens"] == k]
        points.sort(key=lambda point: float(point["bytes"]))
        _scatter(axes, points, f"bridge, {k} soft tokens")
        for point in points:
            rank = f" {point['rank']}" if point["rank"] else ""
            where = (point["bytes"], 100 * point["score"]["value"])
            axes.annotate(f"{point['codec']}{rank}", where, fontsize=7)
    for name, row in found["methods"].items():
        _scatter(axes, [row], name)
    axes.set(xlabel="bytes per text", ylabel=f"{found['metric']} %", xscale="log")


def _scatter(axes: Any, points: list[dict[str, Any]], label: str) -> None:
    scores = [point["score"] for point in points]
    values = [100 * score["value"] for score in scores]
    axes.errorbar(
        [point["bytes"] for point in points],
        values,
        yerr=(
            [value - 100 * score["ci_low"] for value, score in zip(values, scores)],
            [100 * score["ci_high"] - value for value, score in zip(values, scores)],
        ),
        fmt="o",
        capsize=3,
        label=label,
    )


def _train(found: dict[str, Any], axes: Any) -> None:
    speeds = found["examples_per_s"]
    axes.bar(list(speeds), list(speeds.values()))
    axes.set(ylabel="examples per second")


_PLOTS: dict[str, Callable[[dict[str, Any], Any], None]] = {
    "latency": _latency,
    "memory": _memory,
    "throughput": _throughput,
    "train": _train,
    "wire": _wire,
}
