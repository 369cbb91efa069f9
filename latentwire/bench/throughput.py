"""Throughput of a wire in texts per second, by batch size and text length."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from latentwire.bench.bare_passes import BarePasses
from latentwire.bench.lower_bounds import (
    DeviceRates,
    bridge_passes,
    counted_pass,
    measure_device_rates,
    written_passes,
)
from latentwire.bench.stopwatch import TimedWork, time_interleaved
from latentwire.bench.subject import DEFAULT_INPUT_TOKENS, Subject
from latentwire.bench.synthetic import examples_of_length
from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress
from latentwire.core.provenance import describe_environment
from latentwire.data import Example
from latentwire.wire.wire import Wire


def measure_throughput(
    subject: Subject,
    *,
    batch_sizes: Sequence[int] = (1, 2, 4, 8, 16),
    input_lengths: Sequence[int] = (32, DEFAULT_INPUT_TOKENS, 128),
    many: int = 256,
    rounds: int = 5,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the throughput of `Wire.answer` from text to answer.

    Args:
        subject: Wire and task to measure.
        batch_sizes: Numbers of texts per call.
        input_lengths: Numbers of sender tokens per text.
        many: Number of texts that are answered in one call and in one call per text, for
            comparison; 0 skips the comparison.
        rounds: Number of timed rounds, each with other texts; at most three for `many`.
        progress: Called after each round.
    Returns: The JSON object of `latentwire bench throughput --json`, with medians over rounds.
    Raises: UsageError: If a size, a length or the number of rounds is below 1, or `Wire.answer`
        does not support the task.
    """
    if min(*batch_sizes, *input_lengths, rounds) < 1 or many < 0:
        raise UsageError(
            "Batch sizes, input lengths and rounds must be 1 or more, --many 0 or more."
        )
    progress = progress or Progress()
    machine = measure_device_rates(subject.lms[1].device, subject.lms[1].dtype)
    grid = [
        point
        for length in input_lengths
        for point in _row(
            subject.with_input_tokens(length), length, batch_sizes, rounds, machine, progress
        )
    ]
    return {
        "benchmark": "throughput",
        **subject.describe(),
        "device": machine.device,
        "machine": asdict(machine),
        "grid": grid,
        "growth": [_growth(grid, length) for length in input_lengths],
        "many": _many(subject, many, min(rounds, 3), progress) if many else None,
        "rounds": rounds,
        "environment": describe_environment(),
    }


def _row(
    subject: Subject,
    length: int,
    batch_sizes: Sequence[int],
    rounds: int,
    machine: DeviceRates,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Measure all batch sizes at one text length."""
    wire, most = subject.fixed_length_wire(), max(batch_sizes)
    examples = examples_of_length(subject.task, wire.sender.lm, most * (rounds + 1), length)
    turns = [examples[i : i + most] for i in range(0, len(examples), most)]
    works: dict[str, TimedWork] = {
        str(size): partial(_turn, wire, turns, size) for size in batch_sizes
    }
    taken = time_interleaved(works, rounds, progress=progress, title=f"throughput, {length} tokens")
    points = []
    for size in batch_sizes:
        bare = BarePasses(wire, subject.task, examples[:size])
        module = counted_pass(wire.bridge, *bare.bridge_inputs)
        passes = bridge_passes(wire, size, bare.n_sender, bare.n_receiver, module)
        passes += written_passes(wire.receiver.lm, size, bare.n_written)
        ms, bound = statistics.median(taken[str(size)]), machine.lower_bound_ms(passes)
        points.append(
            {
                "batch_size": size,
                "input_tokens": length,
                "texts_per_s": 1000 * size / ms,
                "p50": ms,
                "lower_bound_ms": bound,
                "ratio_to_lower_bound": ms / bound,
            }
        )
    return points


def _turn(wire: Wire, turns: Sequence[Sequence[Example]], size: int, turn: int) -> object:
    return answer(wire, turns[turn][:size])


def answer(wire: Wire, examples: Sequence[Example]) -> object:
    """Answer the texts of some examples in one call."""
    asks = wire.need_task().has_questions
    questions = [example.question for example in examples] if asks else None
    return wire.answer([example.context for example in examples], questions)


def _many(subject: Subject, many: int, rounds: int, progress: Progress) -> dict[str, Any]:
    """Compare one call for many texts with one call per text."""
    wire = subject.fixed_length_wire()
    examples = examples_of_length(subject.task, wire.sender.lm, many, subject.input_tokens)
    works: dict[str, TimedWork] = {
        "one_call": lambda _: answer(wire, examples),
        "single_calls": lambda _: [answer(wire, [example]) for example in examples],
    }
    taken = time_interleaved(
        works, rounds, progress=progress, title=f"{many} texts in one call and one by one"
    )
    ms = {name: statistics.median(values) for name, values in taken.items()}
    return {
        "n": many,
        "input_tokens": subject.input_tokens,
        "one_call_ms": ms["one_call"],
        "single_calls_ms": ms["single_calls"],
        "speedup": ms["single_calls"] / ms["one_call"],
    }


def _growth(grid: Sequence[dict[str, Any]], length: int) -> dict[str, Any]:
    """Compare the throughput of the smallest and the largest batch at one length."""
    row = sorted(
        (point for point in grid if point["input_tokens"] == length),
        key=lambda point: int(point["batch_size"]),
    )
    return {
        "input_tokens": length,
        "from_batch": row[0]["batch_size"],
        "to_batch": row[-1]["batch_size"],
        "times": row[-1]["texts_per_s"] / row[0]["texts_per_s"],
    }
