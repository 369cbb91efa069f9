"""All methods on one task, with several seeds: run once, kept, compared and judged.

The folder of a suite has one run folder per seed, `seed-<n>`: the bridge of that seed and the
answers of every method that depends on it. Answers that depend on no seed lie in the folder itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from latentwire.core.errors import NotApplicableError, UsageError
from latentwire.core.files import fingerprint, write_csv
from latentwire.core.progress import Progress, default_progress
from latentwire.core.provenance import describe_environment
from latentwire.core.run_folder import RunFolder
from latentwire.data import Example, Task, load_task
from latentwire.data.spec import Setting, SplitName
from latentwire.data.task import draw_sample
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Method
from latentwire.eval.notes import asked, notes_of, sample_note
from latentwire.eval.results import Results, check_all, compare_all, judge, score_table, summarise
from latentwire.eval.store import Answers, answer_and_store, stored_answers
from latentwire.eval.time_left import SuiteClock
from latentwire.models import LanguageModel, Receiver, Sender
from latentwire.models.sender import default_layer
from latentwire.train import TrainConfig, train_bridge
from latentwire.train.trackers import Trackers
from latentwire.wire.wire import Wire

_OTHER_TASKS = ("bbc_news", "tweet_sentiment")  # come with packages: there wherever a pair is


@dataclass(frozen=True)
class Plan:
    """What a suite runs. Its fields decide every answer, but for `methods` and `seeds`, which say
    what is answered, and `other_run`, on which only the method `other_task` depends.

    Args:
        methods: Names; all by default, but for those that have no meaning for the task.
        seeds: Of trainings, samples and noise; one run of each method that depends on them.
        split: `test` by default, the whole of it.
        limit: Answer a seeded random sample of so many examples instead.
        relay_limit: The same for methods that let the sender write, which are slow.
        bridge: Kind of bridge.
        soft_tokens: Length of a message.
        layer: Sender layer; at three tenths of the depth by default.
        sender_prompt: `raw` or `aware`.
        setting: `blind`, `shared` or `split`; the task's own by default.
        max_tokens: Longest text in tokens of whoever reads it; the task's limit by default.
        prompt: What the receiver reads around a message; chosen in training by default.
        training: Settings of the bridge; what else learns gets the same examples and steps.
        budgets: Fields of Context: `prompt_val_limit`, `relay_tokens`, `shots` and the like.
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
    budgets: dict[str, Any] = field(default_factory=dict)
    other_run: Path | None = None

    def facts(self) -> dict[str, Any]:
        """What decides the answers of every method, JSON-able."""
        apart = ("methods", "seeds", "training", "other_run")
        kept = {k: v for k, v in asdict(self).items() if k not in apart}
        return {**kept, "training": self.training.model_dump(exclude={"seed"})}


def all_methods() -> list[str]:
    """Names of every method but the checks, in the order of the table and of the work."""
    checks = METHODS.names(role="check")
    return [name for name in METHODS.names() if name not in checks]


def run_suite(
    lms: tuple[LanguageModel, LanguageModel],
    task: Task,
    out_dir: str | Path,
    plan: Plan | None = None,
    *,
    progress: Progress | None = None,
    trackers: Trackers | None = None,
) -> Results:
    """Run every method of a plan on a task; what the folder has already is not run again.

    Args:
        lms: Sender and receiver.
        task: The task.
        out_dir: Folder of the suite. A stopped suite goes on when it is called again.
        plan: All methods on the whole test split with three seeds by default.
        progress: A bar on a terminal, lines in a log by default.
        trackers: Told of the trainings of bridges.
    Raises: UnknownNameError, UsageError, DataError, InterruptedRunError: A training was asked to
        stop; it is saved.
    """
    progress = progress or default_progress()
    return Suite(lms, task, Path(out_dir), plan or Plan(), progress, trackers).run()


class Suite:
    """One task's methods; its members share models, wires and answers.

    Args:
        lms: Sender and receiver.
        task: The task.
        out: Folder.
        plan: What is run.
        progress: Told of everything.
        trackers: Told of the trainings of bridges.
    """

    def __init__(
        self,
        lms: tuple[LanguageModel, LanguageModel],
        task: Task,
        out: Path,
        plan: Plan,
        progress: Progress,
        trackers: Trackers | None = None,
    ) -> None:
        if not plan.seeds or len({*plan.seeds}) < len(plan.seeds):
            raise UsageError(f"Give one or more different seeds, not {list(plan.seeds)}.")
        self.lms, self.task, self.out = lms, task, out
        self.plan, self.progress, self.trackers = plan, progress, trackers
        self.notes: dict[str, str] = {}
        self._wires: dict[int, Wire] = {}
        self._contexts: dict[tuple[int, bool], Context] = {}
        self._known: list[tuple[int | None, str, list[Example], Answers]] = []

    def run(self) -> Results:
        """Answer what is not answered yet, and put everything side by side."""
        names = list(dict.fromkeys(self.plan.methods or all_methods()))
        if "other_task" in names and self.plan.other_run is not None:
            _ = self.other  # a wrong one is told before anything is trained
        units = [(name, seed) for name in names for seed in self._seeds(name)]
        answered: dict[str, list[Answers]] = {}
        clock = SuiteClock([name for name, _ in units])
        for name, seed in units:
            try:
                found = self._answers(name, seed, clock)
            except NotApplicableError as error:
                if self.plan.methods is not None:
                    raise
                self.notes[name] = f"{name} was left out: {error}"
                clock.done(reused=True)
                continue
            answered.setdefault(name, []).append(found)
            self._remember(name, seed, found)
        results = self._results(answered)
        run = RunFolder(self.out)
        write_csv(run.scores, self._scores(answered))
        results.save(run)
        return results

    @cached_property
    def examples(self) -> list[Example]:
        """What every method is asked."""
        found = self.task.sample(self.plan.split, self.plan.limit, self.plan.seeds[0])
        if not found:
            raise UsageError(f"Task '{self.task.name}' has no {self.plan.split} examples.")
        return found

    @cached_property
    def other(self) -> Wire:
        """A wire of this pair and another task; trained once if no run of one is given."""
        run = self.plan.other_run
        if run is None:
            name = next(n for n in _OTHER_TASKS if n != self.task.name)
            run, seed = self.out / f"other-{name}", self.plan.seeds[0]
            self.progress.say(f"Training a bridge on {name}: what it sends is control other_task.")
            self._train(self._new_wire(seed), load_task(name), run, seed)
        return open_other(run, self.task, self.lms)

    def wire(self, seed: int) -> Wire:
        """The trained bridge of a seed."""
        if seed not in self._wires:
            wire = self._new_wire(seed)
            self._train(wire, self.task, self.folder(seed).path, seed)
            self._wires[seed] = wire
        return self._wires[seed]

    def folder(self, seed: int | None) -> RunFolder:
        """Where answers of a seed lie, or those that depend on none."""
        return RunFolder(self.out if seed is None else self.out / f"seed-{seed}")

    def context(self, seed: int, name: str) -> Context:
        """What a method is given; with the bridge of that seed if it needs one."""
        wired = METHODS.get(name).needs_wire
        if (seed, wired) not in self._contexts:
            sender, receiver = self.lms
            plan = self.plan
            layer = plan.layer if plan.layer is not None else default_layer(sender.n_layers)
            wire = self.wire(seed) if wired else None
            context = Context(
                self.task,
                wire.sender if wire else Sender(sender),
                wire.receiver if wire else Receiver(receiver),
                wire,
                wire.spec.layers if wire else (layer,),
                sender_prompt=plan.sender_prompt,
                setting=plan.setting,
                max_tokens=plan.max_tokens,
                soft_tokens=plan.soft_tokens,
                budget=plan.training.model_copy(update={"seed": seed}),
                seed=seed,
                **plan.budgets,
            )
            for other, answerer, examples, found in self._known:
                if other in (None, seed):
                    _tell(context, answerer, examples, found)
            self._contexts[seed, wired] = context
        return self._contexts[seed, wired]

    def _seeds(self, name: str) -> Sequence[int | None]:
        return self.plan.seeds if METHODS.get(name).seeded else [None]

    def _answers(self, name: str, seed: int | None, clock: SuiteClock) -> Answers:
        run, named = self.folder(seed), self._fingerprint(name, seed)
        found = stored_answers(run, name, named)
        if found is None:
            what = name if seed is None else f"{name}, seed {seed}"
            self.progress.say(clock.line(what))
            examples = self._asked(METHODS.get(name))
            context = self.context(self.plan.seeds[0] if seed is None else seed, name)
            context.work = run.work(name, named)
            if name == "other_task":
                context.other = self.other
            found = answer_and_store(
                run, partial(context.prepared, name), name, examples, named, self.progress
            )
        clock.done(reused=found.reused)
        return found

    def _asked(self, method: type[Method]) -> list[Example]:
        limit = self.plan.relay_limit
        if not method.writes or limit is None or limit >= len(self.examples):
            return self.examples
        return draw_sample(self.examples, limit, self.plan.seeds[0])

    def _fingerprint(self, name: str, seed: int | None) -> str:
        """Stands for all that decides a method's answers."""
        method = METHODS.get(name)
        wire = None
        if method.needs_wire:
            wire = self.wire(self.plan.seeds[0] if seed is None else seed).fingerprint
        task = [self.task.name, self.task.version, self.task.fingerprint]
        models = [lm.fingerprint for lm in self.lms]
        given = name == "other_task" and self.plan.other_run is not None
        facts = self.plan.facts() | {"other_run": self.other.fingerprint if given else ""}
        # What depends on no seed still draws its samples with the first one.
        drawn = self.plan.seeds[0] if seed is None else seed
        return fingerprint(name, method.version, drawn, task, models, wire, facts)

    def _remember(self, name: str, seed: int | None, found: Answers) -> None:
        """Let methods that build on others find their answers and choices."""
        examples = self._asked(METHODS.get(name))
        self._known.append((seed, name, examples, found))
        for (other, _), context in self._contexts.items():
            if seed in (None, other):
                _tell(context, name, examples, found)

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
        config = self.plan.training.model_copy(update={"seed": seed})
        train_bridge(
            wire,
            task,
            out,
            config=config,
            resume=True,
            progress=self.progress,
            trackers=self.trackers,
        )

    def _scores(self, answered: dict[str, list[Answers]]) -> list[dict[str, str]]:
        by_seed = {
            name: dict(zip(self._seeds(name), (answers.predictions for answers in each)))
            for name, each in answered.items()
        }
        return score_table([example.id for example in self.examples], by_seed)

    def _results(self, answered: dict[str, list[Answers]]) -> Results:
        runs = {name: [a.predictions for a in each] for name, each in answered.items()}
        rows = {
            name: summarise(METHODS.get(name), runs[name], _settings(each))
            for name, each in answered.items()
        }
        # What is said of the messages does not depend on which answers were there already.
        told = next((name for name in rows if METHODS.get(name).needs_wire), next(iter(rows)))
        context = self.context(self.plan.seeds[0], told)
        comparisons = compare_all(runs)
        notes = notes_of(context, self.examples, self.plan.split, self.plan.limit)
        for name, each in runs.items():
            if len(each[0]) < len(self.examples):
                notes.append(sample_note(name, len(each[0]), len(self.examples), self.plan.split))
        return Results(
            task=self.task.name,
            split=self.plan.split,
            n=len(self.examples),
            metric=self.task.metric,
            chance=self.task.chance,
            asked=asked(context),
            pair={"sender": self.lms[0].name, "receiver": self.lms[1].name},
            methods=rows,
            comparisons=comparisons,
            verdicts=judge(comparisons, next(iter(rows))),
            checks=check_all(runs),
            notes=[*notes, *self.notes.values()],
            run=str(self.out),
            environment=describe_environment(),
        )


def _tell(context: Context, name: str, examples: Sequence[Example], found: Answers) -> None:
    context.remember(name, examples, found.predictions, found.record["settings"])


def _settings(each: Sequence[Answers]) -> dict[str, Any]:
    """What a method chose; by seed where there are several."""
    if len(each) == 1:
        return dict(each[0].record["settings"])
    return {"by_seed": [answers.record["settings"] for answers in each]}


def open_other(run: Path, task: Task, lms: tuple[LanguageModel, LanguageModel]) -> Wire:
    """The bridge of a run folder, if it is one of another task for the same pair.

    Args:
        run: Run folder.
        task: The task that it must not have learned.
        lms: Sender and receiver.
    Raises: UsageError: If it has learned the task. BridgeError, PairMismatchError: As in `Wire`.
    """
    other = Wire.from_pretrained(run, sender=lms[0], receiver=lms[1])
    if task.name in trained_tasks(other):
        raise UsageError(
            f"The bridge in {run} was trained on '{task.name}' itself: other_task needs one that "
            "was not."
        )
    return other


def trained_tasks(wire: Wire) -> list[str]:
    """Names of all tasks that a wire was trained on."""
    first = [wire.task.name] if wire.task else []
    return list(dict.fromkeys([*first, *wire.training.get("tasks", ()), *wire.prompts]))
