"""Evaluate a wire or a pair of models, with baselines and controls on the same examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress, default_progress
from latentwire.data import Task
from latentwire.data.spec import Setting, SplitName
from latentwire.eval.context import Context, no_bridge
from latentwire.eval.method import METHODS, Method
from latentwire.eval.results import Results
from latentwire.eval.runner import Runner
from latentwire.eval.store import Store
from latentwire.models import LanguageModel, Receiver, Sender
from latentwire.models.sender import default_layer
from latentwire.wire.wire import Wire

_MAX_BASIS_TEXTS = 512
_BASIS_BATCH = 32


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
    """Answer a split with several methods, score, compare and time them.

    Args:
        wire: Trained wire; or (sender, receiver) for methods that need none.
        task: Task to answer; for a wire, its own or a similar one.
        methods: Names of methods, with options as in `lora:rank=16`. Default: the bridge, if
            there is a wire, its controls and the main baselines.
        setting: Task setting for a pair of models (`Task.setting`); a wire has its own.
        sender_prompt: What the sender of a pair of models reads: `raw` or `aware`; a wire has
            its own.
        codec: Message codec; the wire's own by default. `lowrank` fits a basis to
            training texts if the wire has none.
        controls: False leaves the controls out of the default methods.
        split: Split to answer.
        limit: Size of a seeded random sample of the split; None answers the whole split.
        relay_limit: The same limit for methods that write text, which are slow.
        prompt_val_limit: Number of val examples on which prompts are chosen.
        timed: Number of examples on which latency is measured; 0 measures nothing.
        seed: Random seed for samples, controls and fits.
        out_dir: Run folder for answers and results, where an interrupted evaluation is resumed;
            without it nothing is written.
        progress: Called with progress updates; by default a bar on a terminal, lines in a log.
    Raises: UnknownNameError, UsageError, DataError.
    """
    progress = progress or default_progress()
    context = context_of(
        with_codec(wire, codec),
        task,
        seed,
        setting,
        sender_prompt,
        prompt_val_limit=prompt_val_limit,
    )
    fit_basis(context, progress)
    names = list(methods or _default_methods(context, controls))
    for name in names:
        context.methods.get(name)  # fail early
    facts = {
        "split": split,
        "limit": limit,
        "relay_limit": relay_limit,
        "prompt_val_limit": prompt_val_limit,
        "sender_prompt": context.sender_prompt,
        "setting": context.setting,
        "max_tokens": context.max_tokens,
        "layers": context.layers,
        "codec": context.wire.spec.codec if context.wire else None,
        "training": context.training.model_dump(),
    }
    runner = Runner(
        names,
        [seed],
        Store(None if out_dir is None else Path(out_dir), by_seed=False),
        timed,
        split=split,
        limit=limit,
        relay_limit=relay_limit,
        skip_inapplicable=methods is None,
        progress=progress,
    )
    return runner.run(_OneContext(context, facts))


@dataclass(frozen=True)
class _OneContext:
    """Context source with one context for all methods."""

    only: Context
    facts_of_all: Mapping[str, Any]

    @property
    def task(self) -> Task:
        return self.only.task

    def context(self, method: type[Method], seed: int) -> Context:
        return self.only

    def facts(self, method: type[Method]) -> Mapping[str, Any]:
        if not method.trained or self.only.wire is None:
            return self.facts_of_all
        # What a method trains has the wire's size, options and prompt.
        return {**self.facts_of_all, "bridge": self.only.wire.fingerprint}


def _default_methods(context: Context, controls: bool) -> list[str]:
    return [
        name
        for name in METHODS.names(in_eval=True)
        if (context.wire is not None or not METHODS.get(name).needs_wire)
        and (controls or METHODS.get(name).role != "control")
        and context.methods.applies(name)
    ]


def context_of(
    wire: Wire | tuple[LanguageModel, LanguageModel],
    task: Task,
    seed: int = 0,
    setting: Setting | None = None,
    sender_prompt: str = "raw",
    **more: Any,
) -> Context:
    """Return the context of methods for a wire or a pair of models.

    Args:
        wire: Trained wire, or (sender, receiver).
        task: Task to answer.
        seed: Random seed for samples, controls and fits.
        setting: Task setting for a pair of models; a wire has its own.
        sender_prompt: What the sender of a pair of models reads; a wire has its own.
        more: Further fields of the context.
    Raises: UsageError: If the wire was trained in another setting.
    """
    if isinstance(wire, tuple):
        sender, receiver = wire
        return Context(
            task,
            Sender(sender),
            Receiver(receiver),
            layers=(default_layer(sender.n_layers),),
            sender_prompt=sender_prompt,
            setting=task.setting(setting),
            seed=seed,
            **more,
        )
    own = task.setting(wire.spec.setting)
    if setting not in (None, own):
        raise UsageError(
            f"The bridge was trained in the setting '{own}' and cannot answer in '{setting}'. "
            f"Train one with --setting {setting}."
        )
    return Context(
        task,
        wire.sender,
        wire.receiver,
        wire,
        wire.spec.layers,
        wire.spec.sender_prompt,
        own,
        wire.spec.max_tokens,
        seed,
        **more,
    )


def with_codec(
    wire: Wire | tuple[LanguageModel, LanguageModel], codec: str | None
) -> Wire | tuple[LanguageModel, LanguageModel]:
    """Return a copy of a wire with another codec; None leaves it unchanged.

    Raises: UsageError: If there is no wire, or no such codec.
    """
    if codec is None:
        return wire
    if not isinstance(wire, Wire):
        raise no_bridge("A codec")
    return wire.with_codec(codec)


def fit_basis(context: Context, progress: Progress, rank: int | None = None) -> None:
    """Fit a low-rank basis on training texts if the wire's codec needs one and has none.

    Args:
        context: Context of the wire.
        progress: Called with progress updates.
        rank: Rank of the basis; the default is that of `Wire.fit_lowrank`.
    """
    wire = context.wire
    if wire is None or not wire.lacks_basis:
        return
    training, cache = context.training, context.cache
    n = min(_MAX_BASIS_TEXTS, training.train_limit or _MAX_BASIS_TEXTS)
    texts = context.sender_texts(context.task.sample("train", n, training.seed))
    cache.ensure(texts, progress=progress)
    starts = range(0, len(texts), _BASIS_BATCH)
    wire.fit_lowrank((cache.states(texts[start : start + _BASIS_BATCH]) for start in starts), rank)
