"""Latency from text to answer of the bridge, text relays and a receiver that reads the text."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from latentwire.bench.bare_passes import BarePasses
from latentwire.bench.lower_bounds import (
    DeviceRates,
    PassCost,
    bridge_passes,
    counted_pass,
    measure_device_rates,
    model_pass,
    relay_passes,
    written_passes,
)
from latentwire.bench.stopwatch import LatencyQuantiles, TimedWork, time_interleaved
from latentwire.bench.subject import Subject
from latentwire.bench.synthetic import examples_of_length
from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress
from latentwire.core.provenance import describe_environment
from latentwire.core.run_folder import RunFolder
from latentwire.data import Example, Task
from latentwire.eval.context import Context
from latentwire.eval.method import Method, Prediction
from latentwire.methods.text_relay import TextRelay
from latentwire.models import Prompt

RELAY_LENGTHS = (1, 2, 3, 16, 32, 64, 128, 256)
WARM_UP = 1
_BARE = ("bare_sender", "bare_bridge", "bare_receiver")


@dataclass(frozen=True)
class BatchLatency:
    """Latencies at one batch size.

    Args:
        batch_size: Number of texts per call.
        taken: Milliseconds of every round, by method or bare pass.
        passes: Forward passes that each method needs, for lower bounds.
        lengths: Numbers of tokens that relays wrote, ascending.
    """

    batch_size: int
    taken: dict[str, list[float]]
    passes: dict[str, list[PassCost]]
    lengths: tuple[int, ...]

    def to_json(self, machine: DeviceRates, relay_tokens: int) -> dict[str, Any]:
        """Return medians, speedups, the crossover and ratios to lower bounds.

        Args:
            machine: Measured rates of the device.
            relay_tokens: Length of the relay that is reported as `text_relay`.
        """
        p50 = {name: statistics.median(values) for name, values in self.taken.items()}
        own = p50["bridge"]
        bare = [sum(parts) for parts in zip(*(self.taken[name] for name in _BARE))]
        methods = {name: self._row(name, machine) for name in self.taken if name not in _BARE}
        methods["text_relay"] = methods[_relay(relay_tokens)]
        curve = [
            {"relay_tokens": n, "p50": p50[_relay(n)], "speedup": p50[_relay(n)] / own}
            for n in self.lengths
        ]
        slower = [point["relay_tokens"] for point in curve if point["speedup"] > 1]
        return {
            "batch_size": self.batch_size,
            "methods": methods,
            "speedup_vs_text_relay": p50[_relay(relay_tokens)] / own,
            "relay_tokens": relay_tokens,
            "curve": curve,
            "crossover": {
                "bridge_faster_from": next(
                    (n for n in self.lengths if all(m in slower for m in self.lengths if m >= n)),
                    None,
                ),
                "relay_faster_at": [n for n in self.lengths if n not in slower],
            },
            "lower_bound_ms": methods["bridge"]["lower_bound_ms"],
            "ratio_to_lower_bound": methods["bridge"]["ratio_to_lower_bound"],
            "bare_sum_ms": statistics.median(bare),
            "ratio_to_bare_sum": _paired(self.taken["bridge"], bare),
            "bare_parts_ms": {name.removeprefix("bare_"): p50[name] for name in _BARE},
            "bridge_share_of_bare_sum": _paired(self.taken["bare_bridge"], bare),
        }

    def _row(self, name: str, machine: DeviceRates) -> dict[str, Any]:
        spread = LatencyQuantiles.of(self.taken[name])
        row: dict[str, Any] = asdict(spread)
        if name in self.passes:
            bound = machine.lower_bound_ms(self.passes[name])
            row |= {"lower_bound_ms": bound, "ratio_to_lower_bound": spread.p50 / bound}
        return row


def measure_latency(
    subject: Subject,
    *,
    lengths: Sequence[int] = RELAY_LENGTHS,
    relay_tokens: int = 64,
    batch_sizes: Sequence[int] = (1, 16),
    rounds: int = 10,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Time the bridge, relays of several lengths and a receiver that reads the text itself.

    Methods run as in evaluations, without caches that depend on an example, interleaved within
    each round. All of them give the same kind of answer: a score for each of the task's choices,
    or a text of the same number of tokens. If the run was evaluated with a linear probe, the
    probe is timed too.

    Args:
        subject: Wire and task to measure.
        lengths: Numbers of tokens that relays write.
        relay_tokens: Length of the relay that is reported as `text_relay`; it is always timed.
        batch_sizes: Numbers of texts per call; top-level results are those of the first one.
        rounds: Number of timed rounds, each with other texts.
        progress: Called after each round.
    Returns: The JSON object of `latentwire bench latency --json`.
    Raises: UsageError: If a length, a batch size or the number of rounds is below 1.
    """
    if min(*lengths, relay_tokens, *batch_sizes, rounds) < 1:
        raise UsageError("Relay lengths, batch sizes and rounds must be 1 or more.")
    progress = progress or Progress()
    lengths = tuple(sorted({*lengths, relay_tokens}))
    device, dtype = subject.lms[1].device, subject.lms[1].dtype
    machine = measure_device_rates(device, dtype)
    batches = [_measure(subject, size, lengths, rounds, progress) for size in batch_sizes]
    machine = machine.or_faster(measure_device_rates(device, dtype))
    found = [batch.to_json(machine, relay_tokens) for batch in batches]
    first = {key: value for key, value in found[0].items() if key != "batch_size"}
    return {
        "benchmark": "latency",
        **subject.describe(),
        "device": machine.device,
        "machine": asdict(machine),
        "answer": _answer(subject.task),
        **first,
        "rounds": rounds,
        "batches": {str(each["batch_size"]): each for each in found},
        "environment": describe_environment(),
    }


def _measure(
    subject: Subject, size: int, lengths: tuple[int, ...], rounds: int, progress: Progress
) -> BatchLatency:
    wire, task = subject.fixed_length_wire(), subject.task
    context = subject.context(wire)
    examples = examples_of_length(
        task, wire.sender.lm, size * (rounds + WARM_UP), subject.input_tokens
    )
    turns = [examples[i * size : (i + 1) * size] for i in range(rounds + WARM_UP)]
    methods = _methods(subject, context, lengths, progress)
    bares = [BarePasses(wire, task, part) for part in turns]
    works: dict[str, TimedWork] = {
        name: partial(_answer_turn, task, method, turns) for name, method in methods.items()
    }
    works["bare_sender"] = lambda turn: bares[turn].sender()
    works["bare_bridge"] = lambda turn: bares[turn].bridge()
    works["bare_receiver"] = lambda turn: bares[turn].receiver()
    taken = time_interleaved(
        works, rounds, warm_up=WARM_UP, progress=progress, title=f"latency, batch {size}"
    )
    return BatchLatency(size, taken, _passes(context, turns[0], bares[0], lengths), lengths)


def _methods(
    subject: Subject, context: Context, lengths: Sequence[int], progress: Progress
) -> dict[str, Method]:
    """Return the timed methods by name. They use the task's first prompts."""
    methods: dict[str, Method] = {
        name: context.methods.get(name) for name in ("bridge", "zeroshot_receiver")
    }
    if subject.run is not None and RunFolder(subject.run).predictions("linear_probe").is_file():
        methods["linear_probe"] = context.methods.prepared("linear_probe", progress)
    for n in lengths:
        methods[_relay(n)] = TextRelay(context, relay_tokens=n)
    return methods


def _answer_turn(
    task: Task, method: Method, turns: Sequence[Sequence[Example]], turn: int
) -> list[str]:
    return answer_texts(task, method, turns[turn])


def answer_texts(task: Task, method: Method, examples: Sequence[Example]) -> list[str]:
    """Return the answers of a method as text, computed without cached results."""
    found: list[Prediction] = method.predict(examples, Progress(), fresh=True)
    return [
        said if isinstance(said := p.prediction, str) else task.answers(e)[said or 0]
        for e, p in zip(examples, found)
    ]


def _passes(
    context: Context, examples: Sequence[Example], bare: BarePasses, lengths: Sequence[int]
) -> dict[str, list[PassCost]]:
    """Return the forward passes that each method needs for one batch."""
    wire = context.need_wire("bridge")
    lm, n = wire.receiver.lm, len(examples)
    relay = TextRelay(context)
    reader = context.prompt_builder(lm, context.task.prompts[0])
    writer = context.prompt_builder(wire.sender.lm, relay.relay_prompt)
    handed = context.prompt_builder(lm, relay.handoff_prompt.prompt)
    sender_reads = max(_new(writer.build(e)[0].prompt) for e in examples)
    receiver_reads = max(_new(handed.build_handoff(e, "")[0].prompt) for e in examples)
    steps = written_passes(lm, n, bare.n_written)
    module = counted_pass(wire.bridge, *bare.bridge_inputs)
    passes = {
        "bridge": [*bridge_passes(wire, n, bare.n_sender, bare.n_receiver, module), *steps],
        "zeroshot_receiver": [
            model_pass(lm, lm.n_layers, n, max(_new(reader.build(e)[0].prompt) for e in examples)),
            *steps,
        ],
    }
    for length in lengths:
        found = relay_passes(wire, n, sender_reads, length, receiver_reads + length)
        passes[_relay(length)] = [*found, *steps]
    return passes


def _new(prompt: Prompt) -> int:
    """Return the number of tokens of a prompt after its cached start."""
    return max(len(prompt.before) - prompt.n_static, 0) + len(prompt.after)


def _answer(task: Task) -> str:
    if task.kind == "generation":
        return f"every method writes {task.max_new_tokens} tokens"
    return "every method scores the choices of the task"


def _relay(n: int) -> str:
    return f"text_relay_{n}"


def _paired(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the median over rounds of a / b, which is robust to slow rounds."""
    return statistics.median(x / y for x, y in zip(a, b))
