"""How long an answer takes, text in to answer text out, for the bridge and what it replaces."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from latentwire.bench.lower_bound_passes import BareSum
from latentwire.bench.lower_bounds import (
    Machine,
    Pass,
    bridge_passes,
    counted_pass,
    measure_machine,
    model_pass,
    relay_passes,
    written_passes,
)
from latentwire.bench.stopwatch import Spread, Work, race
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
    """One batch size.

    Args:
        batch_size: Texts answered at once.
        taken: Milliseconds of every round, by what was timed.
        passes: What each method cannot do without.
        lengths: Tokens a relay wrote, shortest first.
    """

    batch_size: int
    taken: dict[str, list[float]]
    passes: dict[str, list[Pass]]
    lengths: tuple[int, ...]

    def to_json(self, machine: Machine, relay_tokens: int) -> dict[str, Any]:
        """Everything that follows from what was timed.

        Args:
            machine: Its measured rates.
            relay_tokens: Length of the relay that is called `text_relay`.
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

    def _row(self, name: str, machine: Machine) -> dict[str, Any]:
        spread = Spread.of(self.taken[name])
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
    """Time the bridge beside relays of several lengths and a receiver that reads the text itself.

    Methods run as in every evaluation, with nothing of an example taken from a cache, in turn
    within each round. All of them give the same answer: one of the task's choices, or a text of
    the same number of tokens. A linear probe joins in if the run was evaluated with one.

    Args:
        subject: What is measured.
        lengths: Tokens that relays write.
        relay_tokens: Length of the relay that counts as `text_relay`.
        batch_sizes: Texts answered at once; the first one gives the figures at the top.
        rounds: Timed rounds, each on other texts.
        progress: Told of each round.
    Returns: What `latentwire bench latency --json` prints.
    Raises: UsageError: If a length, a batch size or the number of rounds is below 1.
    """
    if min(*lengths, relay_tokens, *batch_sizes, rounds) < 1:
        raise UsageError("Relay lengths, batch sizes and rounds of a benchmark are 1 or more.")
    progress = progress or Progress()
    lengths = tuple(sorted({*lengths, relay_tokens}))
    device, dtype = subject.lms[1].device, subject.lms[1].dtype
    machine = measure_machine(device, dtype)
    batches = [_measure(subject, size, lengths, rounds, progress) for size in batch_sizes]
    machine = machine.or_faster(measure_machine(device, dtype))
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
    wire, task = subject.exact(), subject.task
    context = subject.context(wire)
    examples = examples_of_length(
        task, wire.sender.lm, size * (rounds + WARM_UP), subject.input_tokens
    )
    turns = [examples[i * size : (i + 1) * size] for i in range(rounds + WARM_UP)]
    methods = _methods(subject, context, lengths, progress)
    bares = [BareSum(wire, task, part) for part in turns]
    works: dict[str, Work] = {
        name: partial(_answer_turn, task, method, turns) for name, method in methods.items()
    }
    works["bare_sender"] = lambda turn: bares[turn].sender()
    works["bare_bridge"] = lambda turn: bares[turn].bridge()
    works["bare_receiver"] = lambda turn: bares[turn].receiver()
    taken = race(works, rounds, warm_up=WARM_UP, progress=progress, title=f"latency, batch {size}")
    return BatchLatency(size, taken, _passes(context, turns[0], bares[0], lengths), lengths)


def _methods(
    subject: Subject, context: Context, lengths: Sequence[int], progress: Progress
) -> dict[str, Method]:
    """By name; prompts are the task's first: which of them is best does not change their speed."""
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
    """What a method says about texts, in words; nothing of an example comes from a cache."""
    found: list[Prediction] = method.predict(examples, Progress(), fresh=True)
    return [
        said if isinstance(said := p.prediction, str) else task.answers(e)[said or 0]
        for e, p in zip(examples, found)
    ]


def _passes(
    context: Context, examples: Sequence[Example], bare: BareSum, lengths: Sequence[int]
) -> dict[str, list[Pass]]:
    """What each method cannot do without, for one batch."""
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
    """Tokens of a prompt that were not read before."""
    return max(len(prompt.before) - prompt.n_static, 0) + len(prompt.after)


def _answer(task: Task) -> str:
    if task.kind == "generation":
        return f"{task.max_new_tokens} tokens, written by every method"
    return "one of the task's choices, scored by every method"


def _relay(n: int) -> str:
    return f"text_relay_{n}"


def _paired(a: Sequence[float], b: Sequence[float]) -> float:
    """Median over rounds of a / b: both of one round saw the same machine."""
    return statistics.median(x / y for x, y in zip(a, b))
