"""Turn proposed fixes into pending experiments with changed configurations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentwire.core.errors import LatentWireError
from telepathy.experiments.analysis.analysis import Analysis
from telepathy.experiments.analysis.analyzed_run import AnalyzedRun
from telepathy.experiments.analysis.config_keys import flatten, with_changes
from telepathy.experiments.config import (
    ExperimentConfig,
    command_of,
    is_executable,
    read_config,
    replace,
)
from telepathy.experiments.registry.record import Record, fingerprint_of, key_of
from telepathy.experiments.registry.registry import Registry


@dataclass(frozen=True)
class Proposal:
    """A changed configuration of one failed run.

    Args:
        record: Record of the failed run.
        why: The failure, and how the change fixes it.
        differences: Dotted key -> old and new value; the old one is None for a new key.
        config: New configuration, as stored in the registry.
        runs_dir: Directory with the run folders.
        executable: New configuration of an experiment of a suite; None for other experiments.
        refused: Why the proposal cannot be applied; '' if it can.
    """

    record: Record
    why: str
    differences: dict[str, tuple[Any, Any]]
    config: dict[str, Any]
    runs_dir: Path
    executable: ExperimentConfig | None = None
    refused: str = ""

    @property
    def key(self) -> str:
        """Key of the new experiment."""
        return key_of(self.record.name, fingerprint_of(self.config))

    @property
    def command(self) -> list[str]:
        """Command of the new experiment; empty if only its user knows how to start it."""
        return command_of(self.runs_dir / self.key) if self.executable else []

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
    added = []
    for p in proposed:
        if p.refused:
            continue
        if p.executable:
            p.executable.write(p.runs_dir / p.key)
        added.append(
            registry.add(
                p.record.name,
                p.config,
                command=p.command,
                max_failures=p.record.max_failures,
                max_preemptions=p.record.max_preemptions,
                note=f"fix of {p.record.key}: {p.why}",
            )
        )
    return added


def describe(proposed: list[Proposal]) -> list[str]:
    """Lines for a terminal; proposals with equal changes are grouped."""
    alike: dict[tuple[str, tuple[str, ...]], list[Proposal]] = {}
    for p in proposed:
        lines = tuple(f"{key}: {_text(a)} -> {_text(b)}" for key, (a, b) in p.differences.items())
        alike.setdefault((p.why, lines), []).append(p)
    found = []
    for (why, lines), group in alike.items():
        found += [f"{len(group)} x {why}", *(f"    {line}" for line in lines)]
        for p in group:
            found.append(
                f"  {p.record.name}" + (f": not applied, {p.refused}" if p.refused else "")
            )
    return found


def _proposal(
    run: AnalyzedRun, changes: Mapping[str, Any], why: str, known: Mapping[str, AnalyzedRun]
) -> Proposal:
    old = flatten(run.record.config)
    differences = {key: (old.get(key), new) for key, new in changes.items()}
    new = with_changes(run.record.config, changes)
    proposal = Proposal(run.record, why, differences, new, run.folder.parent)
    if is_executable(run.record.config):
        try:
            config = replace(read_config(run.folder), changes)
        except LatentWireError as error:
            return dataclasses.replace(proposal, refused=str(error))
        proposal = dataclasses.replace(proposal, config=config.resolved(), executable=config)
    elif run.record.command:
        return dataclasses.replace(
            proposal,
            refused="it runs a shell command; add it again with changed options in both its "
            "configuration and its command",
        )
    if proposal.key in known:
        state = known[proposal.key].record.state
        return dataclasses.replace(proposal, refused=f"{proposal.key} exists and is {state}")
    return proposal


def _text(value: Any) -> str:
    return "(default)" if value is None else str(value)
