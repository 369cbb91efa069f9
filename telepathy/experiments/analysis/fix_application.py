"""Turn proposed fixes into pending experiments with changed configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latentwire.core.errors import LatentWireError
from telepathy.experiments.analysis.analysis import Analysis
from telepathy.experiments.analysis.analyzed_run import AnalyzedRun
from telepathy.experiments.analysis.config_keys import flatten
from telepathy.experiments.config import ExperimentConfig, command_of, read_config, replace
from telepathy.experiments.registry import Record, Registry
from telepathy.experiments.registry.record import key_of


@dataclass(frozen=True)
class Proposal:
    """A changed configuration of one failed run.

    Args:
        record: Record of the failed run.
        why: The failure, and how the change fixes it.
        differences: Dotted key -> old and new value; the old one is None for a new key.
        config: New configuration; None if the proposal cannot be applied.
        command: Command of the new experiment.
        refused: Why the proposal cannot be applied; '' if it can.
    """

    record: Record
    why: str
    differences: dict[str, tuple[Any, Any]]
    config: ExperimentConfig | None = None
    command: Sequence[str] = ()
    refused: str = ""

    @property
    def key(self) -> str | None:
        """Key of the new experiment."""
        return key_of(self.record.name, self.config.fingerprint) if self.config else None

    def to_json(self) -> dict[str, Any]:
        """The proposal as a JSON object."""
        return {
            "run": self.record.key,
            "key": self.key,
            "why": self.why,
            "differences": {k: {"old": a, "new": b} for k, (a, b) in self.differences.items()},
            "command": list(self.command),
            "refused": self.refused or None,
        }


def proposals(found: Analysis) -> list[Proposal]:
    """One proposal per failed run whose fix changes its configuration."""
    runs = {run.key: run for run in found.runs}
    return [
        _proposal(runs[key], changes, f"{failure.kind}, {failure.fix.advice}", runs)
        for failure in found.failures
        if failure.fix
        for key, changes in failure.fix.changes.items()
    ]


def add_pending(registry: Registry, proposed: list[Proposal]) -> list[Record]:
    """Add the proposals that are not refused to the registry, as pending experiments.

    A new experiment has the name of the failed run, which it supersedes; its history names that
    run. The failed run's own configuration stays failed.
    """
    return [_add(registry, p, p.config) for p in proposed if p.config]


def describe(proposed: list[Proposal]) -> list[str]:
    """Lines for a terminal; proposals with equal changes are grouped."""
    by_change: dict[tuple[str, tuple[str, ...]], list[Proposal]] = {}
    for p in proposed:
        lines = tuple(f"{key}: {_text(a)} -> {_text(b)}" for key, (a, b) in p.differences.items())
        by_change.setdefault((p.why, lines), []).append(p)
    found = []
    for (why, lines), group in by_change.items():
        found += [f"{len(group)} x {why}", *(f"    {line}" for line in lines)]
        for p in group:
            found.append(f"  {p.record.name}{f': not applied, {p.refused}' if p.refused else ''}")
    return found


def _proposal(
    run: AnalyzedRun, changes: Mapping[str, Any], why: str, known: Mapping[str, AnalyzedRun]
) -> Proposal:
    old = flatten(run.record.config)
    differences = {key: (old.get(key), new) for key, new in changes.items()}
    if run.is_flat:
        refused = "it runs its own command: add it again with the changed options"
        return Proposal(run.record, why, differences, refused=refused)
    try:
        config = replace(read_config(run.folder), changes)
        key = key_of(run.record.name, config.fingerprint)
    except LatentWireError as error:
        return Proposal(run.record, why, differences, refused=str(error))
    if key in known:
        refused = f"{key} exists and is {known[key].record.state}"
        return Proposal(run.record, why, differences, refused=refused)
    command = command_of(run.folder.parent / key)
    return Proposal(run.record, why, differences, config, command)


def _add(registry: Registry, proposal: Proposal, config: ExperimentConfig) -> Record:
    failed = proposal.record
    config.write(registry.store.folder(key_of(failed.name, config.fingerprint)))
    return registry.add(
        failed.name,
        config.resolved(),
        command=proposal.command,
        max_failures=failed.max_failures,
        max_preemptions=failed.max_preemptions,
        note=f"fix of {failed.key}: {proposal.why}",
    )


def _text(value: Any) -> str:
    return "(default)" if value is None else str(value)
