"""Evaluate all methods on a task with several seeds; a bridge is trained for each seed.

The folder has one run folder per seed, `seed-<n>`, with the bridge of that seed and the answers of
every method that depends on the seed. Answers that depend on no seed are in the folder itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress, default_progress
from latentwire.data import Task, load_task
from latentwire.data.spec import Setting, SplitName
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Method
from latentwire.eval.options import check_option
from latentwire.eval.results import Results
from latentwire.eval.runner import Runner
from latentwire.eval.store import Store
from latentwire.models import LanguageModel, Receiver, Sender
from latentwire.models.sender import default_layer
from latentwire.train import TrainConfig, train_bridge
from latentwire.train.trackers import Trackers
from latentwire.wire.wire import Wire

_OTHER_TASKS = ("bbc_news", "tweet_sentiment")  # embedded, so always available
# Names of options in the fingerprints of stored answers.
_STORED_NAMES = {"rank": "lora_rank", "max_bytes": "compressed_bytes"}


@dataclass(frozen=True)
class Plan:
    """Configuration of `run_baselines`.

    All fields except `methods`, `seeds` and `other_run` affect every answer; `other_run` affects
    only the method `other_task`.

    Args:
        methods: Names of methods with their options. Default: all except checks that apply to
            the task.
        seeds: Seeds of trainings, samples and noise. Methods that depend on them run once each.
        split: Split to answer.
        limit: Size of a seeded random sample of the split; None answers the whole split.
        relay_limit: The same limit for methods that write text, which are slow.
        bridge: Kind of bridge.
        soft_tokens: Number of soft tokens of a message.
        layer: Sender layer; by default the layer at 30 % of the depth.
        sender_prompt: What the sender reads: `raw` or `aware`.
        setting: `blind`, `shared` or `split`; the task's own by default.
        max_tokens: Maximum length of a text in tokens of its reader; the task's limit by default.
        prompt: Prompt around a message; chosen during training by default.
        training: Training configuration of the bridge. Other methods that train get the same
            examples and steps.
        prompt_val_limit: Number of val examples on which prompts are chosen.
        options: Options for all methods that have them, e.g. `{"shots": 8}`.
        other_run: Run folder of a bridge of another task; one is trained if a method needs it.
    """

    methods: tuple[str, ...] | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    split: SplitName = "test"
    limit: int | None = None
    relay_limit: int | None = None
    bridge: str = "perceiver"
    soft_tokens: int = 8
    layer: int | None = None
    sender_prompt: str = "raw"
    setting: Setting | None = None
    max_tokens: int | None = None
    prompt: str | None = None
    training: TrainConfig = field(default_factory=TrainConfig)
    prompt_val_limit: int = 64
    options: Mapping[str, Any] = field(default_factory=dict)
    other_run: Path | None = None

    def facts(self) -> dict[str, Any]:
        """Return the JSON-serializable options that affect the answers of every method."""
        excluded = ("methods", "seeds", "training", "prompt_val_limit", "options", "other_run")
        kept = {k: v for k, v in asdict(self).items() if k not in excluded}
        options = {_STORED_NAMES.get(name, name): v for name, v in self.options.items()}
        return {
            **kept,
            "budgets": {"prompt_val_limit": self.prompt_val_limit, **options},
            "training": self.training.model_dump(exclude={"seed"}),
        }


def run_baselines(
    lms: tuple[LanguageModel, LanguageModel],
    task: Task,
    out_dir: str | Path,
    plan: Plan | None = None,
    *,
    progress: Progress | None = None,
    trackers: Trackers | None = None,
) -> Results:
    """Train a bridge per seed and evaluate all methods of a plan on a task.

    Completed methods are not run again, interrupted trainings and methods are resumed.

    Args:
        lms: Sender and receiver.
        task: Task to answer.
        out_dir: Folder of bridges, answers and results.
        plan: What to run; by default all methods on the whole test split with three seeds.
        progress: Called with progress updates; by default a bar on a terminal, lines in a log.
        trackers: Trackers of the trainings of bridges.
    Raises: UnknownNameError, UsageError, DataError. InterruptedRunError: If training was
        interrupted; its state is saved.
    """
    plan, progress = plan or Plan(), progress or default_progress()
    for name in plan.options:
        check_option(name)
    runner = Runner(
        plan.methods or default_methods(),
        plan.seeds,
        Store(Path(out_dir)),
        split=plan.split,
        limit=plan.limit,
        relay_limit=plan.relay_limit,
        skip_inapplicable=plan.methods is None,
        progress=progress,
    )
    source = WirePerSeed(lms, task, runner.store, plan, progress, trackers)
    if plan.other_run is not None and any(s.method.name == "other_task" for s in runner.specs):
        source.other()  # fail before training
    return runner.run(source)


def default_methods() -> list[str]:
    """Return the names of all methods except checks."""
    return [name for name in METHODS.names() if METHODS.get(name).role != "check"]


class WirePerSeed:
    """Context source that trains one wire per seed.

    Args:
        lms: Sender and receiver.
        task: Task to answer.
        store: Store of the answers; its folders also hold the wires.
        plan: Configuration of wires and methods.
        progress: Called with progress updates.
        trackers: Trackers of the trainings of bridges.
    """

    def __init__(
        self,
        lms: tuple[LanguageModel, LanguageModel],
        task: Task,
        store: Store,
        plan: Plan,
        progress: Progress,
        trackers: Trackers | None = None,
    ) -> None:
        self.lms, self.task, self.store, self.plan = lms, task, store, plan
        self.progress, self.trackers = progress, trackers
        self._wires: dict[int, Wire] = {}
        self._contexts: dict[tuple[int, bool], Context] = {}

    def context(self, method: type[Method], seed: int) -> Context:
        """Return the context of a seed, with the bridge of that seed if the method needs one."""
        key = seed, method.needs_wire
        if key not in self._contexts:
            self._contexts[key] = self._new_context(seed, method.needs_wire)
        return self._contexts[key]

    def facts(self, method: type[Method]) -> dict[str, Any]:
        """Return what affects the answers of a method beyond its context."""
        given = method.name == "other_task" and self.plan.other_run is not None
        return self.plan.facts() | {"other_run": self.other().fingerprint if given else ""}

    def wire(self, seed: int) -> Wire:
        """Return the wire of a seed, trained on the first call."""
        if seed not in self._wires:
            run = self.store.run(seed)
            assert run is not None
            wire = self._new_wire(seed)
            self._train(wire, self.task, run.path, seed)
            self._wires[seed] = wire
        return self._wires[seed]

    def other(self) -> Wire:
        """Return a wire of this pair for another task, trained if no run is given."""
        return self._other

    @cached_property
    def _other(self) -> Wire:
        run = self.plan.other_run
        if run is None:
            assert self.store.folder is not None
            name = next(n for n in _OTHER_TASKS if n != self.task.name)
            run, seed = self.store.folder / f"other-{name}", self.plan.seeds[0]
            self.progress.say(f"Training a bridge on {name} for the control other_task.")
            self._train(self._new_wire(seed), load_task(name), run, seed)
        return load_other_wire(run, self.task, self.lms)

    def _new_context(self, seed: int, wired: bool) -> Context:
        plan, (sender, receiver) = self.plan, self.lms
        layer = plan.layer if plan.layer is not None else default_layer(sender.n_layers)
        wire = self.wire(seed) if wired else None
        return Context(
            self.task,
            wire.sender if wire else Sender(sender),
            wire.receiver if wire else Receiver(receiver),
            wire,
            wire.spec.layers if wire else (layer,),
            sender_prompt=plan.sender_prompt,
            setting=self.task.setting(plan.setting),
            max_tokens=plan.max_tokens,
            seed=seed,
            prompt_val_limit=plan.prompt_val_limit,
            soft_tokens=plan.soft_tokens,
            budget=plan.training.model_copy(update={"seed": seed}),
            options=plan.options,
            other=self.other,
        )

    def _new_wire(self, seed: int) -> Wire:
        plan = self.plan
        return Wire.build(
            *self.lms,
            bridge=plan.bridge,
            soft_tokens=plan.soft_tokens,
            layer=plan.layer,
            sender_prompt=plan.sender_prompt,
            setting=plan.setting,
            max_tokens=plan.max_tokens,
            prompt=plan.prompt,
            seed=seed,
        )

    def _train(self, wire: Wire, task: Task, out: Path, seed: int) -> None:
        train_bridge(
            wire,
            task,
            out,
            config=self.plan.training.model_copy(update={"seed": seed}),
            resume=True,
            progress=self.progress,
            trackers=self.trackers,
        )


def load_other_wire(run: Path, task: Task, lms: tuple[LanguageModel, LanguageModel]) -> Wire:
    """Load the wire of a run folder that was trained on another task for the same pair.

    Args:
        run: Run folder.
        task: Task on which it must not have been trained.
        lms: Sender and receiver.
    Raises: UsageError: If it was trained on the task. BridgeError, PairMismatchError: As in `Wire`.
    """
    other = Wire.from_pretrained(run, sender=lms[0], receiver=lms[1])
    if task.name in trained_tasks(other):
        raise UsageError(
            f"The bridge in {run} was trained on '{task.name}' itself. The method other_task needs "
            "a bridge of another task."
        )
    return other


def trained_tasks(wire: Wire) -> list[str]:
    """Return the names of all tasks that a wire was trained on."""
    first = [wire.task.name] if wire.task else []
    return list(dict.fromkeys([*first, *wire.training.get("tasks", ()), *wire.prompts]))
