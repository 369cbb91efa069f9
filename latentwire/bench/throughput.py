"""How many texts a wire answers per second, over batch sizes and lengths of text."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from latentwire.bench.lower_bound_passes import BareSum
from latentwire.bench.lower_bounds import (
    Machine,
    bridge_passes,
    counted_pass,
    measure_machine,
    written_passes,
)
from latentwire.bench.stopwatch import Work, race
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
    """Answer batches of texts with `Wire.answer`, text in to answer out.

    Args:
        subject: What is measured.
        batch_sizes: Texts of one call.
        input_lengths: Sender tokens of each text.
        many: Texts that are answered in one call and one by one, to compare; 0: not at all.
        rounds: Timed rounds, each on other texts; the comparison of many has three at most.
        progress: Told of each round.
    Returns: What `latentwire bench throughput --json` prints. Speeds are texts per second, from
        the median round; bounds are those of a bridge's answer.
    Raises: UsageError: If a size, a length or the number of rounds is below 1, or the task asks
        something that `Wire.answer` cannot (`Wire.examples`).
    """
    if min(*batch_sizes, *input_lengths, rounds) < 1 or many < 0:
        raise UsageError("Batch sizes, input lengths and rounds of a benchmark are 1 or more.")
    progress = progress or Progress()
    machine = measure_machine(subject.lms[1].device, subject.lms[1].dtype)
    grid = [
        point
        for length in input_lengths
        for point in _row(subject.reading(length), length, batch_sizes, rounds, machine, progress)
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
    machine: Machine,
    progress: Progress,
) -> list[dict[str, Any]]:
    """All batch sizes at one length of text."""
    wire, most = subject.exact(), max(batch_sizes)
    examples = examples_of_length(subject.task, wire.sender.lm, most * (rounds + 1), length)
    turns = [examples[i : i + most] for i in range(0, len(examples), most)]
    works: dict[str, Work] = {str(size): partial(_turn, wire, turns, size) for size in batch_sizes}
    taken = race(works, rounds, progress=progress, title=f"throughput, {length} tokens")
    points = []
    for size in batch_sizes:
        bare = BareSum(wire, subject.task, examples[:size])
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
    """What the wire answers to the texts of some examples, in one call."""
    asks = wire.need_task().has_questions
    questions = [example.question for example in examples] if asks else None
    return wire.answer([example.context for example in examples], questions)


def _many(subject: Subject, many: int, rounds: int, progress: Progress) -> dict[str, Any]:
    """One call for many texts against one call for each of them."""
    wire = subject.exact()
    examples = examples_of_length(subject.task, wire.sender.lm, many, subject.input_tokens)
    works: dict[str, Work] = {
        "one_call": lambda _: answer(wire, examples),
        "single_calls": lambda _: [answer(wire, [example]) for example in examples],
    }
    taken = race(works, rounds, progress=progress, title=f"{many} texts at once, one by one")
    ms = {name: statistics.median(values) for name, values in taken.items()}
    return {
        "n": many,
        "input_tokens": subject.input_tokens,
        "one_call_ms": ms["one_call"],
        "single_calls_ms": ms["single_calls"],
        "speedup": ms["single_calls"] / ms["one_call"],
    }


def _growth(grid: Sequence[dict[str, Any]], length: int) -> dict[str, Any]:
    """From the smallest batch to the largest, at one length."""
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
