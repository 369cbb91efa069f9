"""Evaluate a wire, or a bare pair, beside baselines and controls on the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress, default_progress
from latentwire.core.provenance import describe_environment
from latentwire.core.run_folder import RunFolder
from latentwire.data import Task
from latentwire.data.spec import Setting, SplitName
from latentwire.data.task import draw_sample
from latentwire.eval.codec_basis import encoded, give_basis
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Method, Prediction
from latentwire.eval.notes import asked, notes_of, sample_note
from latentwire.eval.results import (
    Results,
    check_all,
    compare_all,
    judge,
    run_method,
    summarise,
)
from latentwire.eval.timing import Timing, time_methods
from latentwire.models import LanguageModel, Receiver, Sender
from latentwire.models.sender import default_layer
from latentwire.wire.wire import Wire


def evaluate(
    wire: Wire | tuple[LanguageModel, LanguageModel],
    task: Task,
    *,
    methods: Sequence[str] | None = None,
    setting: Setting | None = None,
    sender_prompt: str = "raw",
    codec: str | None = None,
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
        codec: How messages are written; as the wire does by default. `lowrank` fits a basis to
            training texts if the wire has none.
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
    context = context_of(encoded(wire, codec), task, seed, setting, sender_prompt)
    give_basis(context, progress)
    context.prompt_val_limit = prompt_val_limit
    names = list(methods or _default_methods(context, controls))
    built = [context.built(name) for name in names]
    examples = task.sample(split, limit, seed)
    if not examples:
        raise UsageError(f"Task '{task.name}' has no {split} examples.")
    run = RunFolder(out_dir) if out_dir is not None else None
    notes = notes_of(context, examples, split, limit)
    predictions: dict[str, list[Prediction]] = {}
    for method in built:
        context.prepared(method.name, progress)
        chosen = examples
        if method.writes and relay_limit is not None and relay_limit < len(examples):
            chosen = draw_sample(examples, relay_limit, seed)
            notes.append(sample_note(method.name, len(chosen), len(examples), split))
        predictions[method.name] = run_method(method, chosen, progress, run)
    runs = {name: [answers] for name, answers in predictions.items()}
    comparisons = compare_all(runs)
    timings = _time(built, task, timed, seed, progress)
    results = Results(
        task=task.name,
        split=split,
        n=len(examples),
        metric=task.metric,
        chance=task.chance,
        asked=asked(context),
        pair={"sender": context.sender.lm.name, "receiver": context.receiver.lm.name},
        methods={
            m.name: summarise(type(m), runs[m.name], m.settings(), timings.get(m.name))
            for m in built
        },
        comparisons=comparisons,
        verdicts=judge(comparisons, names[0]),
        checks=check_all(runs),
        notes=notes,
        run=str(run.path) if run else None,
        environment=describe_environment(),
    )
    if run is not None:
        results.save(run)
    return results


def _default_methods(context: Context, controls: bool) -> list[str]:
    return [
        name
        for name in METHODS.names(in_eval=True)
        if (context.wire is not None or not METHODS.get(name).needs_wire)
        and (controls or METHODS.get(name).role != "control")
        and context.applies(name)
    ]


def context_of(
    wire: Wire | tuple[LanguageModel, LanguageModel],
    task: Task,
    seed: int = 0,
    setting: Setting | None = None,
    sender_prompt: str = "raw",
) -> Context:
    """What methods work with, for a wire or a bare pair; `evaluate` says what is given."""
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
