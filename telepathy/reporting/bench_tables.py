"""Show the result of a benchmark: a table and sentences that summarize it."""

from __future__ import annotations

from typing import Any

from telepathy.reporting.numbers import interval, metric_name
from telepathy.reporting.table import Column, Table, print_wrapped

_MB = 1 << 20


def show_bench(found: dict[str, Any]) -> None:
    """Print the result of a benchmark.

    Args:
        found: The JSON object of `latentwire bench`.
    """
    table, sentences = _TABLES[found["benchmark"]](found)
    table.title = (
        f"{found['benchmark']}: {found['pair']['sender']} -> {found['pair']['receiver']}, "
        f"{found['soft_tokens']} soft tokens, {found['device']}"
    )
    table.print()
    for sentence in sentences:
        print_wrapped(sentence)


def _table(*titles: str) -> Table:
    return Table([Column(title, left=not i) for i, title in enumerate(titles)])


def _latency(found: dict[str, Any]) -> tuple[Table, list[str]]:
    table = _table("method", "batch", "p50 ms", "p95", "p99", "bound ms", "x bound", "x bridge")
    sentences = [f"Answers: {found['answer']}. {_rates(found['machine'])}"]
    for size, batch in found["batches"].items():
        own = batch["methods"]["bridge"]["p50"]
        for name, row in batch["methods"].items():
            bound, times = row.get("lower_bound_ms"), row.get("ratio_to_lower_bound")
            table.add(
                name,
                size,
                *(f"{row[key]:.2f}" for key in ("p50", "p95", "p99")),
                "" if bound is None else f"{bound:.2f}",
                "" if times is None else f"{times:.2f}",
                f"{row['p50'] / own:.2f}",
            )
        sentences.append(_latency_sentence(size, batch))
    return table, sentences


def _latency_sentence(size: str, batch: dict[str, Any]) -> str:
    start = batch["crossover"]["bridge_faster_from"]
    crossing = (
        "no measured relay is slower than the bridge"
        if start is None
        else f"the bridge is faster than relays of {start} or more tokens"
    )
    return (
        f"Batch {size}: the bridge is {batch['speedup_vs_text_relay']:.2f} times as fast as a "
        f"relay of {batch['relay_tokens']} tokens; {crossing}. It takes "
        f"{batch['ratio_to_lower_bound']:.2f} times its lower bound and "
        f"{batch['ratio_to_bare_sum']:.2f} times the sum of the bare passes, "
        f"{100 * batch['bridge_share_of_bare_sum']:.1f} % of which is the bridge module."
    )


def _throughput(found: dict[str, Any]) -> tuple[Table, list[str]]:
    table = _table("tokens per text", "batch", "texts/s", "ms per call", "bound ms", "x bound")
    for point in found["grid"]:
        table.add(
            f"{point['input_tokens']}",
            f"{point['batch_size']}",
            f"{point['texts_per_s']:.1f}",
            f"{point['p50']:.2f}",
            f"{point['lower_bound_ms']:.2f}",
            f"{point['ratio_to_lower_bound']:.2f}",
        )
    sentences = [_rates(found["machine"])]
    sentences += [
        f"{row['input_tokens']} tokens: batch {row['to_batch']} answers {row['times']:.2f} times "
        f"as many texts per second as batch {row['from_batch']}."
        for row in found["growth"]
    ]
    if many := found["many"]:
        sentences.append(
            f"{many['n']} texts in one call are {many['speedup']:.2f} times as fast as one call "
            "per text."
        )
    return table, sentences


def _memory(found: dict[str, Any]) -> tuple[Table, list[str]]:
    table = _table(f"{found['measured']}, MB", "value")
    for key in ("start", "weights", "loaded", "loading_peak", "activations", "peak"):
        table.add(key.replace("_", " "), f"{found[f'{key}_bytes'] / _MB:.0f}")
    return table, [
        f"Peak memory is {found['peak_over_weights']:.2f} times the size of the weights, its lower "
        f"bound; {found['without_start_over_weights']:.2f} times without the memory that the "
        "process used before loading."
    ]


def _wire(found: dict[str, Any]) -> tuple[Table, list[str]]:
    table = _table(
        "message",
        "soft tokens",
        "bytes",
        "x bound",
        f"{metric_name(found['metric'])} %",
        "95 % interval",
    )
    for point in found["points"]:
        rank = f" {point['rank']}" if point["rank"] else ""
        table.add(
            f"{point['codec']}{rank}",
            f"{point['soft_tokens']}",
            f"{point['bytes']:,.0f}",
            f"{point['ratio_to_lower_bound']:.2f}",
            *_score(point["score"]),
        )
    for name, row in found["methods"].items():
        table.add(name, "", f"{row['bytes']:,.0f}", "", *_score(row["score"]))
    return table, [f"{found['task']}, {found['split']} split, {found['n']} examples."]


def _train(found: dict[str, Any]) -> tuple[Table, list[str]]:
    table = _table("implementation", "examples/s", "ms per step")
    for name, speed in found["examples_per_s"].items():
        table.add(name, f"{speed:.1f}", f"{found['median_ms'][name]:.1f}")
    return table, [
        f"Training is {found['plain_over_ours']:.2f} times as fast as a plain loop. A step takes "
        f"{found['ours_over_bare']:.2f} times the receiver's passes alone and "
        f"{found['ratio_to_lower_bound']:.2f} times their lower bound "
        f"({found['lower_bound_ms']:.1f} ms). {_rates(found['machine'])}"
    ]


def _score(score: dict[str, Any]) -> tuple[str, str]:
    return f"{100 * score['value']:.1f}", interval(score)


def _rates(machine: dict[str, Any]) -> str:
    return (
        f"Measured peak rates of this machine in {machine['dtype']}: "
        f"{machine['operations_per_s'] / 1e9:,.1f} billion operations and "
        f"{machine['bytes_per_s'] / 1e9:,.1f} GB per second."
    )


_TABLES = {
    "latency": _latency,
    "memory": _memory,
    "throughput": _throughput,
    "train": _train,
    "wire": _wire,
}
