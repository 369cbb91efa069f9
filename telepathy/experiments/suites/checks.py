"""Find mistakes in a suite that type validation misses; each names its dotted key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from latentwire.core.errors import UnknownNameError, UsageError
from telepathy.experiments.benchmarks import BENCHMARKS, benchmark_options
from telepathy.experiments.config import Kind, dotted_keys, try_config, uses
from telepathy.experiments.suites.spec import (
    ALL,
    BaselineSection,
    BenchmarkSection,
    BridgeSection,
    Options,
    SuiteSection,
    SuiteSpec,
)

# The suite has its own keys for these, so options cannot set them.
_RESERVED = {
    *("task.name", "task.file", "task.version", "task.mixed_with", "wire.bridge"),
    *("wire.soft_tokens", "train.seed", "eval.seed", "eval.seeds", "eval.methods", "log_to"),
    "eval.other_run",
}
_KINDS: dict[type[SuiteSection], Kind] = {BridgeSection: "bridge", BaselineSection: "baselines"}


def mistakes_in(suite: SuiteSpec, load_task: Callable[[str], Any]) -> list[str]:
    """One sentence per mistake.

    Args:
        suite: The suite.
        load_task: Loads one of its tasks; raises UsageError if it does not exist.
    """
    from latentwire.train.trackers import TRACKERS

    found = []
    if not suite.sections:
        found.append("baselines, bridges, benchmarks: give at least one section")
    found += _unknown("tasks", suite.tasks, load_task)
    found += _unknown("log_to", suite.log_to, TRACKERS.get)
    kinds = sorted({_KINDS[type(s)] for s in suite.sections.values() if type(s) in _KINDS})
    found += _option_mistakes("settings", suite.settings, kinds)
    for key, section in suite.sections.items():
        found += [
            f"{key}.tasks: {UnknownNameError.of('task', name, suite.tasks)}"
            for name in section.tasks
            if name not in suite.tasks
        ]
        found += _section_mistakes(suite, key, section)
    seeds = {f"{key}.seeds": section.seeds for key, section in suite.sections.items()}
    for key, each in {"seeds": suite.seeds, **seeds}.items():
        if len({*each}) < len(each):
            found.append(f"{key}: a seed is given twice: {each}")
    return found


def _section_mistakes(suite: SuiteSpec, key: str, section: SuiteSection) -> Iterator[str]:
    from latentwire.bridge import BRIDGES
    from latentwire.eval.options import parse_method

    if isinstance(section, BenchmarkSection):
        yield from _benchmark_mistakes(suite, key, section)
        return
    if isinstance(section, BridgeSection):
        yield from _unknown(f"{key}.bridge", section.bridge, BRIDGES.get)
        if any(n < 1 for n in section.soft_tokens):
            yield f"{key}.soft_tokens: give numbers of 1 or more"
    elif isinstance(section, BaselineSection):
        yield from _unknown(f"{key}.bridge", [section.bridge], BRIDGES.get)
    methods = getattr(section, "methods", ALL)
    if methods != ALL:
        yield from _unknown(f"{key}.methods", methods, parse_method)
    yield from _option_mistakes(f"{key}.options", section.options, [_KINDS[type(section)]])


def _benchmark_mistakes(suite: SuiteSpec, key: str, section: BenchmarkSection) -> Iterator[str]:
    trained = {*suite.bridges, *(n for n, b in suite.baselines.items() if b.trains_bridges)}
    if section.of not in trained:
        yield f"{key}.of: {UnknownNameError.of('section with bridges', section.of, trained)}"
    yield from _unknown(
        f"{key}.kinds",
        section.kinds,
        lambda name: benchmark_options(name, {}) if name in BENCHMARKS else _no_benchmark(name),
    )
    for name in section.kinds:
        if name in BENCHMARKS:
            yield from _unknown(
                f"{key}.options",
                [name],
                lambda each: benchmark_options(each, section.options),
            )


def _no_benchmark(name: str) -> None:
    raise UnknownNameError.of("benchmark", name, BENCHMARKS)


def _option_mistakes(key: str, options: Options, kinds: list[Kind]) -> Iterator[str]:
    """Mistakes in options: unknown, unused or wrong; each names the key that the suite uses."""
    given: dict[str, str] = {}
    values: dict[str, Any] = {}
    for name, value in options.items():
        try:
            found = dotted_keys({name: value})
        except UsageError as error:
            yield f"{key}.{name}: {error}"
            continue
        values |= found
        given |= {dotted: f"{key}.{name}" for dotted in found}
    for dotted, place in given.items():
        if dotted in _RESERVED:
            yield f"{place}: options cannot set this; the suite has its own key for it"
            continue
        # An option that shapes bridges or messages must hold for all experiments.
        shapes = dotted.startswith(("wire.", "train."))
        unable = [kind for kind in kinds if not uses(kind, dotted)]
        if unable and (shapes or unable == kinds):
            yield f"{place}: Unknown option for {' and '.join(unable)}; give it to other sections"
    config, mistakes = try_config({"task.name": "any"}, values)
    if config is not None:
        mistakes = config.unknown_names()
    for dotted, message in mistakes.items():
        yield f"{_place(given, dotted) or key}: {message}"


def _place(given: Mapping[str, str], dotted: str) -> str | None:
    """Key in the suite that set the value at a dotted key, or the mapping around it."""
    return next((p for key, p in given.items() if f"{dotted}.".startswith(f"{key}.")), None)


def _unknown(key: str, names: Iterable[str], look_up: Callable[[str], Any]) -> list[str]:
    """Error message for each name that the look-up does not find."""
    found = []
    for name in names:
        try:
            look_up(name)
        except UsageError as error:
            found.append(f"{key}: {error}")
    return found
