"""Propose a fix for each group of failures: changed options where they help, else advice."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from telepathy.experiments.analysis.analyzed_run import AnalyzedRun
from telepathy.experiments.analysis.conditions import Condition
from telepathy.experiments.analysis.config_keys import as_number, find_key, flatten, short_name
from telepathy.experiments.analysis.findings import Fix
from telepathy.experiments.registry import failure

Changes = dict[str, dict[str, Any]]
Proposer = Callable[[Sequence[AnalyzedRun], Condition | None, str], Fix]
_BATCH_SIZE = ("batch_size", "per_device_batch_size", "micro_batch_size")
_ACCUMULATION = ("grad_accum", "gradient_accumulation_steps", "grad_accumulation")
_LENGTH = ("max_tokens", "max_length", "seq_len")
_LEARNING_RATE = ("lr", "learning_rate")
_TIME_LIMIT = ("time_limit", "time", "timeout", "limit_s", "timeout_s")
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")
_RERUN = "then mark the runs for a re-run"


def propose_fix(
    kind: str, runs: Sequence[AnalyzedRun], condition: Condition | None, line: str
) -> Fix:
    """Propose a fix for one group of failures.

    Args:
        kind: Error class.
        runs: The failed runs.
        condition: Condition that they share.
        line: Line that names the cause.
    """
    fix = _PROPOSERS.get(kind, _read_log)(runs, condition, line)
    return Fix(f"{fix.advice}{_shared_changes(runs, fix.changes)}.", fix.changes)


def _less_memory(runs: Sequence[AnalyzedRun], condition: Condition | None, line: str) -> Fix:
    changes: Changes = {}
    actions = set()
    for run in runs:
        config = run.record.config
        batch, length = _positive_int(config, _BATCH_SIZE), _positive_int(config, _LENGTH)
        if batch and batch[1] > 1:
            key, size = batch
            half = size // 2
            section = key[: len(key) - len(short_name(key))]
            accumulation = _positive_int(config, _ACCUMULATION) or (f"{section}grad_accum", 1)
            changes[run.key] = {key: half, accumulation[0]: accumulation[1] * -(-size // half)}
            actions.add("halve the batch size and double gradient accumulation")
        elif length:
            changes[run.key] = {length[0]: length[1] // 2}
            actions.add(f"halve {length[0]}")
    advice = " or ".join(sorted(actions)) or "use a GPU or a machine with more memory"
    return Fix(f"{advice[0].upper()}{advice[1:]}", changes)


def _lower_learning_rate(
    runs: Sequence[AnalyzedRun], condition: Condition | None, line: str
) -> Fix:
    changes: Changes = {}
    for run in runs:
        key = find_key(run.record.config, *_LEARNING_RATE)
        rate = as_number(flatten(run.record.config).get(key)) if key else None
        if key and rate:
            changes[run.key] = {key: float(f"{rate / 3:.2g}")}
    if changes:
        return Fix("Reduce the learning rate to a third", changes)
    return Fix("Reduce the learning rate or the gradient norm limit (--lr, --clip-norm)")


def _more_time(runs: Sequence[AnalyzedRun], condition: Condition | None, line: str) -> Fix:
    changes: Changes = {}
    for run in runs:
        key = find_key(run.record.config, *_TIME_LIMIT)
        if key and (doubled := _doubled(flatten(run.record.config)[key])) is not None:
            changes[run.key] = {key: doubled}
    if changes:
        return Fix("Double the time limit", changes)
    where = _where(runs, condition)
    return Fix(f"Raise the time limit{where} or use fewer examples for val and test; {_RERUN}")


def _avoid_preemption(runs: Sequence[AnalyzedRun], condition: Condition | None, line: str) -> Fix:
    where = _where(runs, condition)
    return Fix(
        f"Run where preemption is less frequent{' than' + where if where else ''}, or save more "
        f"often (save_every) and raise max_preemptions; {_RERUN}"
    )


def _install_package(runs: Sequence[AnalyzedRun], condition: Condition | None, line: str) -> Fix:
    found = re.search(r"[Nn]o module named ['\"]?([\w.]+)|[Pp]ackage '?([\w-]+)'?", line)
    name = next((part for part in found.groups() if part), "") if found else ""
    package = f"package {name.partition('.')[0]}" if name else "the missing package"
    return Fix(f"Install {package}{_where(runs, condition)}; {_RERUN}")


def _correct_data(runs: Sequence[AnalyzedRun], condition: Condition | None, line: str) -> Fix:
    path = re.search(r"(?:[\w.~-]*/)+[\w.-]+", line)
    what = f"Put the data at {path[0]} or correct that path" if path else "Correct the data"
    return Fix(f"{what}{_where(runs, condition)}; {_RERUN}")


def _free_disk(runs: Sequence[AnalyzedRun], condition: Condition | None, line: str) -> Fix:
    return Fix(f"Free disk space{_where(runs, condition)} or keep fewer checkpoints; {_RERUN}")


def _read_log(runs: Sequence[AnalyzedRun], condition: Condition | None, line: str) -> Fix:
    return Fix(f"Read log.txt in {runs[0].key}; {_RERUN}")


# Error class -> function that proposes a fix.
_PROPOSERS: dict[str, Proposer] = {
    failure.OUT_OF_MEMORY: _less_memory,
    failure.NAN: _lower_learning_rate,
    failure.TIMEOUT: _more_time,
    failure.PREEMPTED: _avoid_preemption,
    failure.IMPORT: _install_package,
    failure.DATA: _correct_data,
    failure.DISK: _free_disk,
}


def _shared_changes(runs: Sequence[AnalyzedRun], changes: Mapping[str, dict[str, Any]]) -> str:
    """`: train.lr 0.03 -> 0.01` if the changes are the same for all runs, else ''."""
    found = {
        tuple((key, flatten(run.record.config).get(key), new) for key, new in own.items())
        for run in runs
        if (own := changes.get(run.key))
    }
    if len(found) != 1:
        return ""
    parts = (f"{k} {'default' if old is None else old} -> {new}" for k, old, new in found.pop())
    return f": {', '.join(parts)}"


def _where(runs: Sequence[AnalyzedRun], condition: Condition | None) -> str:
    """` on node-3`: the host or partition of the condition, else the common host of all runs."""
    for clause in condition.clauses if condition else ():
        if short_name(clause.key) in ("host", "partition"):
            return f" on {clause.value}"
    hosts = {run.record.host for run in runs}
    return f" on {hosts.pop()}" if len(hosts) == 1 and "" not in hosts and not condition else ""


def _positive_int(config: dict[str, Any], names: Sequence[str]) -> tuple[str, int] | None:
    key = find_key(config, *names)
    value = flatten(config)[key] if key else None
    return (key, value) if key and isinstance(value, int) and value > 0 else None


def _doubled(limit: Any) -> Any:
    """Double a time limit: a number or SLURM's D-HH:MM:SS; None for anything else."""
    if (size := as_number(limit)) is not None:
        return int(2 * size) if isinstance(limit, int) else 2 * size
    if not (found := _CLOCK.fullmatch(str(limit))):
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total = 2 * (((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    return f"{total // 3600:02d}:{total // 60 % 60:02d}:{total % 60:02d}"
