"""Evaluation engine: run methods on a split, store their answers, score and compare them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

from latentwire.core.errors import NotApplicableError, UsageError
from latentwire.core.files import fingerprint, write_csv
from latentwire.core.progress import PartProgress, Progress
from latentwire.core.provenance import describe_environment
from latentwire.core.run_folder import RunFolder
from latentwire.data import Example, Task
from latentwire.data.spec import SplitName
from latentwire.data.task import draw_sample
from latentwire.eval.context import Context
from latentwire.eval.method import Method, Prediction
from latentwire.eval.notes import describe_prompts, notes_of, sample_note
from latentwire.eval.options import MethodSpec, parse_method
from latentwire.eval.results import (
    MethodResult,
    Results,
    check_baselines,
    compare_with_first,
    judge,
    score_table,
)
from latentwire.eval.store import MethodAnswers, Store
from latentwire.eval.time_left import TimeLeft
from latentwire.eval.timing import Timing, time_methods

_BATCHES_PER_PART = 8


class ContextSource(Protocol):
    """Provides the contexts in which methods run."""

    @property
    def task(self) -> Task:
        """Task that all contexts answer."""

    def context(self, method: type[Method], seed: int) -> Context:
        """Return the context of a method for a seed, with a trained wire if it needs one."""

    def facts(self, method: type[Method]) -> Mapping[str, Any]:
        """Return what affects a method's answers beyond its context, JSON-serializable."""


class Runner:
    """Runs methods on one split of a task and returns their results.

    A method that depends on the seed runs once per seed. Answers are stored batch by batch:
    completed methods are not run again, interrupted ones are resumed.

    Args:
        methods: Names of methods with their options, e.g. `lora:rank=16`. The first one is
            compared with each of the others.
        seeds: Seeds of trainings, samples and noise. The first one draws all samples.
        store: Store of the answers.
        timing: Number of val examples on which latency is measured; 0 measures nothing.
        split: Split to answer.
        limit: Size of a random sample of the split; None answers the whole split.
        relay_limit: The same limit for methods that write text, which are slow.
        skip_inapplicable: True to leave out methods that do not apply to the task, with a note.
        progress: Called with progress updates.
    Raises: UnknownNameError; UsageError: If an option is wrong, or a seed is missing or repeated.
    """

    def __init__(
        self,
        methods: Sequence[str],
        seeds: Sequence[int],
        store: Store,
        timing: int = 0,
        *,
        split: SplitName = "test",
        limit: int | None = None,
        relay_limit: int | None = None,
        skip_inapplicable: bool = False,
        progress: Progress | None = None,
    ) -> None:
        if not seeds or len({*seeds}) < len(seeds):
            raise UsageError(f"Seeds must be one or more different numbers, not {list(seeds)}.")
        specs = [parse_method(name) for name in methods]
        self.specs = list({spec.name: spec for spec in specs}.values())
        self.seeds, self.store, self.timing = tuple(seeds), store, timing
        self.split, self.limit, self.relay_limit = split, limit, relay_limit
        self.skip_inapplicable = skip_inapplicable
        self.progress = progress or Progress()

    def run(self, source: ContextSource) -> Results:
        """Run the methods that have no stored answers and return the results of all.

        Args:
            source: Provides the contexts of methods.
        Raises: UsageError: If the split is empty, or a method cannot run.
        """
        return _Execution(self, source).run()

    def seeds_of(self, method: type[Method]) -> Sequence[int | None]:
        """Return the seeds to run a method with, [None] if it is not seeded."""
        return self.seeds if method.seeded else [None]


class _Execution:
    """One call of `Runner.run`."""

    def __init__(self, runner: Runner, source: ContextSource) -> None:
        self.runner, self.source, self.task = runner, source, source.task
        self.progress = runner.progress
        self.left_out: dict[str, str] = {}
        self.answers: dict[str, dict[int | None, MethodAnswers]] = {}
        self._contexts: dict[int, Context] = {}
        self._known: list[tuple[int | None, str, list[Example], MethodAnswers]] = []

    def run(self) -> Results:
        runner = self.runner
        units = [(spec, seed) for spec in runner.specs for seed in runner.seeds_of(spec.method)]
        clock = TimeLeft([(spec.name, _trains(spec.method)) for spec, _ in units])
        for spec, seed in units:
            try:
                answers = self._answers(spec, seed, clock)
            except NotApplicableError as error:
                if not runner.skip_inapplicable:
                    raise
                self.left_out[spec.name] = f"{spec.name} was left out: {error}"
                clock.done(reused=True)
                continue
            clock.done(reused=answers.reused)
            self.answers.setdefault(spec.name, {})[seed] = answers
        results = self._results()
        if runner.store.folder is not None:
            write_csv(RunFolder(runner.store.folder).scores, self._scores())
            results.save(RunFolder(runner.store.folder))
        return results

    @cached_property
    def examples(self) -> list[Example]:
        runner = self.runner
        found = self.task.sample(runner.split, runner.limit, runner.seeds[0])
        if not found:
            raise UsageError(f"Task '{self.task.name}' has no {runner.split} examples.")
        return found

    def _examples_of(self, method: type[Method]) -> list[Example]:
        limit = self.runner.relay_limit
        if not method.writes or limit is None or limit >= len(self.examples):
            return self.examples
        return draw_sample(self.examples, limit, self.runner.seeds[0])

    def _answers(self, spec: MethodSpec, seed: int | None, clock: TimeLeft) -> MethodAnswers:
        """Return the answers of a method with one seed, stored ones if there are any."""
        examples, key = self._examples_of(spec.method), self._fingerprint(spec, seed)
        answers = self.runner.store.load(spec.name, seed, key)
        if answers is None:
            what = spec.name if seed is None else f"{spec.name}, seed {seed}"
            self.progress.say(clock.line(what))
            answers = self._run(spec, seed, examples, key)
        self._known.append((seed, spec.name, examples, answers))
        for context in self._contexts.values():
            _share(context, *self._known[-1])
        return answers

    def _run(
        self, spec: MethodSpec, seed: int | None, examples: Sequence[Example], key: str
    ) -> MethodAnswers:
        """Run a method and store its answers in parts."""
        store, context = self.runner.store, self._context(spec.method, seed)
        started = time.monotonic()
        method = context.methods.get(spec.name)
        method.work = store.work(spec.name, seed, key)
        context.methods.prepared(spec.name, self.progress)
        prepared = time.monotonic()
        size = len(examples)
        done: list[Prediction] = []
        if method.independent:
            size = _part_size(context)
            done = store.load_part(spec.name, seed, key)
            done = done[: len(done) // size * size]
            if size < len(examples):
                store.start_part(spec.name, seed, key, done)
        for start in range(len(done), len(examples), size):
            part = examples[start : start + size]
            progress = PartProgress(self.progress, start, len(part), len(examples))
            done += method.predict(part, progress)
            if len(done) < len(examples):
                store.add_part(spec.name, seed, done[start:])
        record = {
            "method": spec.name,
            "fingerprint": key,
            "about": method.about,
            "n": len(done),
            "settings": method.settings(),
            "seconds": {"prepare": prepared - started, "predict": time.monotonic() - prepared},
            "environment": describe_environment(),
        }
        answers = MethodAnswers(done, record)
        store.save(spec.name, seed, answers)
        return answers

    def _context(self, method: type[Method], seed: int | None) -> Context:
        """Return the context of a method, with the answers of other methods."""
        context = self.source.context(method, self.runner.seeds[0] if seed is None else seed)
        if id(context) not in self._contexts:
            self._contexts[id(context)] = context
            for known in self._known:
                _share(context, *known)
        return context

    def _fingerprint(self, spec: MethodSpec, seed: int | None) -> str:
        """Return a fingerprint of everything that affects a method's answers."""
        context, method, task = self._context(spec.method, seed), spec.method, self.task
        wire = context.need_wire(spec.name).fingerprint if method.needs_wire else None
        # Methods without a seed draw their samples with the first one.
        drawn = self.runner.seeds[0] if seed is None else seed
        return fingerprint(
            spec.name,
            method.version,
            drawn,
            [task.name, task.version, task.fingerprint],
            [lm.fingerprint for lm in (context.sender.lm, context.receiver.lm)],
            wire,
            self.source.facts(method),
        )

    def _timings(self) -> dict[str, Timing]:
        if self.runner.timing < 1:
            return {}
        racing = {}
        for spec in self.runner.specs:
            if spec.method.timed and spec.name in self.answers:
                context = self._context(spec.method, self.runner.seeds[0])
                racing[spec.name] = context.methods.prepared(spec.name, self.progress)
        if not racing:
            return {}
        # The first round warms up and is not counted.
        examples = self.task.sample("val", self.runner.timing + 1, self.runner.seeds[0])
        return time_methods(list(racing.values()), examples, progress=self.progress)

    def _scores(self) -> list[dict[str, str]]:
        by_seed = {
            name: {seed: answers.predictions for seed, answers in each.items()}
            for name, each in self.answers.items()
        }
        return score_table([example.id for example in self.examples], by_seed)

    def _results(self) -> Results:
        runner, methods = self.runner, {spec.name: spec.method for spec in self.runner.specs}
        runs = {
            name: [answers.predictions for answers in each.values()]
            for name, each in self.answers.items()
        }
        timings = self._timings()
        rows = {
            name: MethodResult.of(methods[name], runs[name], _settings(each), timings.get(name))
            for name, each in self.answers.items()
        }
        first = next(iter(rows))
        # Notes describe messages if any method sends some.
        wired = next((name for name in rows if methods[name].needs_wire), first)
        context = self._context(methods[wired], runner.seeds[0])
        notes = notes_of(context, self.examples, runner.split, runner.limit)
        notes += [
            sample_note(name, len(each[0]), len(self.examples), runner.split)
            for name, each in runs.items()
            if len(each[0]) < len(self.examples)
        ]
        comparisons = compare_with_first(runs)
        return Results(
            task=self.task.name,
            split=runner.split,
            n=len(self.examples),
            metric=self.task.metric,
            chance=self.task.chance,
            asked=describe_prompts(context),
            pair={"sender": context.sender.lm.name, "receiver": context.receiver.lm.name},
            methods=rows,
            comparisons=comparisons,
            verdicts=judge(comparisons, first),
            checks=check_baselines(runs),
            notes=[*notes, *self.left_out.values()],
            run=None if runner.store.folder is None else str(runner.store.folder),
            environment=describe_environment(),
        )


def _part_size(context: Context) -> int:
    """Return the number of examples whose answers are stored together."""
    return _BATCHES_PER_PART * context.batch_size


def _trains(method: type[Method]) -> bool:
    """Return whether running the method includes training it or the bridge."""
    return method.trained or method.role == "method"


def _share(
    context: Context,
    seed: int | None,
    name: str,
    examples: Sequence[Example],
    answers: MethodAnswers,
) -> None:
    """Add answers to the pool of a context if they are valid for its seed."""
    if seed in (None, context.seed):
        settings = answers.record["settings"]
        context.methods.remember(name, examples, answers.predictions, settings)


def _settings(by_seed: Mapping[int | None, MethodAnswers]) -> dict[str, Any]:
    """Return the choices of a method, by seed if there are several."""
    found = [answers.record["settings"] for answers in by_seed.values()]
    return dict(found[0]) if len(found) == 1 else {"by_seed": found}
