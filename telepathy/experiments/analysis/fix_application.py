"""Fixes as new experiments: shown first, then written down as pending."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from telepathy.experiments.analysis.analysis import Analysis
from telepathy.experiments.analysis.commands import CommandError, elsewhere, rewritten
from telepathy.experiments.analysis.config_keys import flatten, with_changes
from telepathy.experiments.registry.record import Record, fingerprint_of, key_of
from telepathy.experiments.registry.registry import Registry


@dataclass(frozen=True)
class Proposal:
    """A changed configuration of one failed run.

    Args:
        record: The run that failed.
        why: Which failure it mends, and how.
        differences: Dotted key -> old and new value; None where there was none.
        config: The whole new configuration.
        command: The command that goes with it.
        refused: Why it cannot be written; '' if it can.
    """

    record: Record
    why: str
    differences: dict[str, tuple[Any, Any]]
    config: dict[str, Any]
    command: list[str]
    refused: str = ""

    @property
    def key(self) -> str:
        """Key of the new experiment."""
        return key_of(self.record.name, fingerprint_of(self.config))

    def to_json(self) -> dict[str, Any]:
        """The proposal as a JSON object."""
        return {
            "run": self.record.key,
            "key": self.key,
            "why": self.why,
            "differences": {k: {"old": a, "new": b} for k, (a, b) in self.differences.items()},
            "command": self.command,
            "refused": self.refused or None,
        }


def proposals(found: Analysis) -> list[Proposal]:
    """Every fix that changes a configuration, one for each run, in the order of the failures."""
    records = {run.key: run.record for run in found.runs}
    return [
        _proposal(records[key], changes, f"{failure.kind}, {failure.fix.advice}", records)
        for failure in found.failures
        if failure.fix
        for key, changes in failure.fix.changes.items()
    ]


def add_pending(registry: Registry, proposed: list[Proposal]) -> list[Record]:
    """Write the proposals that can be written as pending experiments.

    A new experiment keeps the name, so that it takes the place of the run that failed; its history
    says of which run it is the fix. Whoever asks `should_run` with the old configuration gets the
    old record's answer still: the old configuration was not mended.
    """
    return [
        registry.add(
            p.record.name,
            p.config,
            command=p.command,
            max_failures=p.record.max_failures,
            max_preemptions=p.record.max_preemptions,
            note=f"fix of {p.record.key}: {p.why}",
        )
        for p in proposed
        if not p.refused
    ]


def describe(proposed: list[Proposal]) -> list[str]:
    """The proposals as differences of configurations, like ones together."""
    alike: dict[tuple[str, tuple[str, ...]], list[Proposal]] = {}
    for p in proposed:
        lines = tuple(f"{key}: {_text(a)} -> {_text(b)}" for key, (a, b) in p.differences.items())
        alike.setdefault((p.why, lines), []).append(p)
    found = []
    for (why, lines), group in alike.items():
        found += [f"{len(group)} x {why}", *(f"    {line}" for line in lines)]
        for p in group:
            found.append(
                f"  {p.record.name}" + (f": not written, {p.refused}" if p.refused else "")
            )
    return found


def _proposal(
    record: Record, changes: Mapping[str, Any], why: str, known: Mapping[str, Record]
) -> Proposal:
    old, config = flatten(record.config), with_changes(record.config, changes)
    differences = {key: (old.get(key), new) for key, new in changes.items()}
    key = key_of(record.name, fingerprint_of(config))
    if key in known:
        refused = f"{key} is {known[key].state} already"
        return Proposal(record, why, differences, config, record.command, refused)
    try:
        command = rewritten(record.command, differences)
    except CommandError as error:
        return Proposal(record, why, differences, config, record.command, str(error))
    return Proposal(record, why, differences, config, elsewhere(command, fingerprint_of(config)))


def _text(value: Any) -> str:
    return "(default)" if value is None else str(value)
