"""Evaluate a wire, or a bare pair, beside baselines and controls on the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latentwire.asking import take
from latentwire.baselines.context import METHODS, Context
from latentwire.data import Example, Task
from latentwire.data.spec import SplitName
from latentwire.errors import UsageError
from latentwire.eval.method import Method, Prediction
from latentwire.eval.runner import Results, compare_all, run_method, summarise
from latentwire.eval.timing import Timing, time_methods
from latentwire.models import LanguageModel, Receiver, Sender
from latentwire.progress import Progress, default_progress
from latentwire.run_folder import RunFolder, describe_environment
from latentwire.wire import Wire, default_layer

CONTROLS = ("zero", "random", "shuffled")
BASELINES = ("linear_probe", "zeroshot_sender", "zeroshot_receiver", "text_relay")


def evaluate(
    wire: Wire | tuple[LanguageModel, LanguageModel],
    task: Task,
    *,
    methods: Sequence[str] | None = None,
    controls: bool = True,
    split: SplitName = "test",
    limit: int | None = None,
    relay_limit: int | None = None,
    prompt_val_limit: int = 64,
    timed: int = 8,
    seed: int = 0,
    out_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> Results:
    """Answer a split with every method, score, compare and time them.

    Args:
        wire: A trained wire; or (sender, receiver) for methods that need none.
        task: The task; for a wire the one it was trained on, or one asked alike.
        methods: Names; by default the bridge (if there is a wire), its controls and all baselines.
        controls: False leaves the controls out of that default.
        split: `test` by default, the whole of it.
        limit: Answer a seeded random sample of so many examples instead.
        relay_limit: The same for the text relay only, which is slow.
        prompt_val_limit: Val examples on which prompts are chosen.
        timed: Examples on which milliseconds are measured, 0 for no timing.
        seed: Of samples, controls and fits.
        out_dir: Run folder for predictions and results; nothing is written without it.
        progress: A bar on a terminal, lines in a log by default.
    Raises: UnknownNameError, UsageError, DataError.
    """
    if task.kind == "generation":
        raise UsageError(
            f"Task '{task.name}' has no choices; only tasks of kind choice or letter are scored."
        )
    progress = progress or default_progress()
    context = _context(wire, task, seed)
    context.prompt_val_limit = prompt_val_limit
    names = list(methods or _default_methods(context, controls))
    built = [METHODS.get(name)(context) for name in names]
    examples = take(task, split, limit, seed)
    if not examples:
        raise UsageError(f"Task '{task.name}' has no {split} examples.")
    run = RunFolder(out_dir) if out_dir is not None else None
    notes = _notes(context, examples, split, limit)
    predictions: dict[str, list[Prediction]] = {}
    for method in built:
        chosen = examples
        if method.name == "text_relay" and relay_limit is not None and relay_limit < len(examples):
            chosen = _sample(examples, relay_limit, seed)
            notes.append(
                f"text_relay answered a seeded random sample of {relay_limit} of the "
                f"{len(examples)} {split} examples"
            )
        predictions[method.name] = run_method(method, chosen, progress, run)
    timings = _time(built, task, timed, seed, progress)
    results = Results(
        task=task.name,
        split=split,
        n=len(examples),
        chance=task.chance,
        pair={"sender": context.sender.lm.name, "receiver": context.receiver.lm.name},
        methods={m.name: summarise(m, predictions[m.name], timings.get(m.name)) for m in built},
        comparisons=compare_all(predictions),
        notes=notes,
        run=str(run.path) if run else None,
        environment=describe_environment(),
    )
    if run is not None:
        results.save(run)
    return results


def _sample(examples: Sequence[Example], limit: int, seed: int) -> list[Example]:
    """A seeded random sample, in the order of `examples`."""
    order = np.random.RandomState(seed).permutation(len(examples))[:limit]
    return [examples[i] for i in sorted(order.tolist())]


def _default_methods(context: Context, controls: bool) -> list[str]:
    baselines = [n for n in BASELINES if n != "linear_probe" or context.task.labels]
    if context.wire is None:
        return baselines
    return ["bridge", *(CONTROLS if controls else ()), *baselines]


def _context(wire: Wire | tuple[LanguageModel, LanguageModel], task: Task, seed: int) -> Context:
    if isinstance(wire, tuple):
        sender, receiver = wire
        layers = (default_layer(sender.n_layers),)
        return Context(task, Sender(sender), Receiver(receiver), None, layers, seed=seed)
    return Context(
        task,
        wire.sender,
        wire.receiver,
        wire,
        wire.spec.layers,
        wire.spec.sender_prompt,
        wire.spec.max_tokens,
        wire.training.get("train_limit"),
        seed,
    )


def _time(
    built: Sequence[Method], task: Task, timed: int, seed: int, progress: Progress
) -> dict[str, Timing]:
    racing = [method for method in built if method.timed]
    if timed < 1 or not racing:
        return {}
    # Val texts of the usual length; the first round warms up and is not counted.
    return time_methods(racing, task.sample("val", timed + 1, seed), progress=progress)


def _notes(
    context: Context, examples: Sequence[Example], split: str, limit: int | None
) -> list[str]:
    task, sender = context.task, context.sender.lm
    limit_tokens = context.max_tokens or task.max_context_tokens
    asker = context.asker(sender, "{context}")
    n_cut = sum(asker.cut(example)[1] for example in examples)
    notes = [*task.notes(), f"the sender's states are taken on the {context.sender_prompt} text"]
    if n_cut:
        notes.append(f"{n_cut} of {len(examples)} texts were cut to {limit_tokens} tokens")
    if limit is not None:
        notes.append(f"a seeded random sample of {len(examples)} {split} examples")
    return notes
