"""Evaluate a wire, or a bare pair, beside baselines and controls on the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latentwire.asking import take
from latentwire.baselines.context import METHODS, Context
from latentwire.data import Example, Task
from latentwire.data.spec import Setting, SplitName
from latentwire.errors import UsageError
from latentwire.eval.method import Method, Prediction
from latentwire.eval.runner import Results, compare_all, run_method, summarise
from latentwire.eval.timing import Timing, time_methods
from latentwire.models import LanguageModel, Receiver, Sender
from latentwire.models.pair import default_layer
from latentwire.progress import Progress, default_progress
from latentwire.run_folder import RunFolder, describe_environment
from latentwire.wire import Wire

CONTROLS = ("zero", "random", "shuffled")
BASELINES = ("linear_probe", "zeroshot_sender", "zeroshot_receiver", "text_relay")


def evaluate(
    wire: Wire | tuple[LanguageModel, LanguageModel],
    task: Task,
    *,
    methods: Sequence[str] | None = None,
    setting: Setting | None = None,
    sender_prompt: str = "raw",
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
        setting: How a bare pair is asked (`Task.setting`); a wire knows its own.
        sender_prompt: What the sender of a bare pair reads: `raw` or `aware`; likewise.
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
    progress = progress or default_progress()
    context = _context(wire, task, seed, setting, sender_prompt)
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
        metric=task.metric,
        chance=task.chance,
        asked=_asked(context),
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
    # A probe needs labels that are the same for every example.
    baselines = [n for n in BASELINES if n != "linear_probe" or context.task.labels]
    if context.wire is None:
        return baselines
    return ["bridge", *(CONTROLS if controls else ()), *baselines]


def _context(
    wire: Wire | tuple[LanguageModel, LanguageModel],
    task: Task,
    seed: int,
    setting: Setting | None,
    sender_prompt: str,
) -> Context:
    if isinstance(wire, tuple):
        sender, receiver = wire
        return Context(
            task,
            Sender(sender),
            Receiver(receiver),
            layers=(default_layer(sender.n_layers),),
            sender_prompt=sender_prompt,
            setting=setting,
            seed=seed,
        )
    if setting not in (None, task.setting(wire.spec.setting)):
        raise UsageError(
            f"The bridge was trained in the setting '{task.setting(wire.spec.setting)}'; it "
            f"cannot be asked in '{setting}'. Train one with --setting {setting}."
        )
    return Context(
        task,
        wire.sender,
        wire.receiver,
        wire,
        wire.spec.layers,
        wire.spec.sender_prompt,
        wire.spec.setting,
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


def _asked(context: Context) -> dict[str, Any]:
    """How the task was asked, in words of the command line."""
    return {
        "setting": context.setting,
        "sender_prompt": context.sender_prompt,
        "max_tokens": context.max_tokens or context.task.max_context_tokens,
        "chat": {"sender": context.sender.lm.is_chat, "receiver": context.receiver.lm.is_chat},
    }


def _notes(
    context: Context, examples: Sequence[Example], split: str, limit: int | None
) -> list[str]:
    task, asked = context.task, _asked(context)
    turns = {True: "a chat turn", False: "plain text"}
    notes = [
        *task.notes(),
        f"setting {asked['setting']}; the sender's states are taken on the "
        f"{asked['sender_prompt']} text; prompts are {turns[asked['chat']['sender']]} for the "
        f"sender, {turns[asked['chat']['receiver']]} for the receiver",
    ]
    for role, lm in (("sender", context.sender.lm), ("receiver", context.receiver.lm)):
        asker = context.asker(lm, "{context}")
        if n_cut := sum(asker.cut(example)[1] for example in examples):
            notes.append(
                f"{n_cut} of {len(examples)} texts were cut to {asker.max_tokens} tokens of the "
                f"{role}; questions and choices never are"
            )
    notes += _collision_notes(context, examples)
    if limit is not None:
        notes.append(f"a seeded random sample of {len(examples)} {split} examples")
    return notes


def _collision_notes(context: Context, examples: Sequence[Example]) -> list[str]:
    """How often the first token cannot tell choices apart, and how often nothing can."""
    if context.task.kind == "generation":
        return []
    asker = context.asker(context.receiver.lm, context.task.prompts[0])
    first = same = 0
    for example in examples:
        answers = asker.hand(example)[0].answers
        first += len({ids[0] for ids in answers}) < len(answers)
        same += len(set(answers)) < len(answers)
    found = []
    if first:
        found.append(
            f"in {first} of {len(examples)} examples choices share their first token for the "
            "receiver: whole choices are scored, always"
        )
    if same:
        found.append(f"in {same} of {len(examples)} examples two choices are the same words")
    return found
