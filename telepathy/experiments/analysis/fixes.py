"""What would mend a failure: a changed configuration where that is at fault, else what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from telepathy.experiments.analysis.conditions import Condition
from telepathy.experiments.analysis.findings import Fix
from telepathy.experiments.analysis.run import Run
from telepathy.experiments.analysis.settings import flat, key_named, leaf, number
from telepathy.experiments.registry.failure import (
    DATA,
    DISK,
    IMPORT,
    NAN,
    OUT_OF_MEMORY,
    PREEMPTED,
    TIMEOUT,
)

Changes = dict[str, dict[str, Any]]
Proposer = Callable[[Sequence[Run], Condition | None, str], Fix]
BATCH = ("batch_size", "per_device_batch_size", "micro_batch_size")
ACCUMULATION = ("grad_accum", "gradient_accumulation_steps", "grad_accumulation")
LENGTH = ("max_tokens", "max_length", "seq_len")
LEARNING_RATE = ("lr", "learning_rate")
TIME = ("time_limit", "time", "timeout", "limit_s", "timeout_s")
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")


def propose(kind: str, runs: Sequence[Run], condition: Condition | None, line: str) -> Fix:
    """The fix for failures of one mechanism.

    Args:
        kind: Class of the error.
        runs: The runs that failed so.
        condition: What they share.
        line: The line that names the cause.
    """
    fix = _PROPOSERS.get(kind, _read_the_log)(runs, condition, line)
    return Fix(f"{fix.advice}{_concretely(runs, fix.changes)}", fix.changes)


def _less_memory(runs: Sequence[Run], condition: Condition | None, line: str) -> Fix:
    changes: Changes = {}
    how = set()
    for run in runs:
        config = run.record.config
        batch, length = _whole(config, BATCH), _whole(config, LENGTH)
        accumulation = _whole(config, ACCUMULATION)
        if batch and batch[1] > 1:
            key, size = batch
            half = size // 2
            beside = key[: len(key) - len(leaf(key))] + "grad_accum"
            parts = accumulation or (beside, 1)
            changes[run.key] = {key: half, parts[0]: parts[1] * -(-size // half)}
            how.add("halve the batch, double accumulation")
        elif length:
            changes[run.key] = {length[0]: length[1] // 2}
            how.add(f"halve {length[0]}")
    advice = " / ".join(sorted(how)) or "give it a GPU or a machine with more memory"
    return Fix(f"{advice[0].upper()}{advice[1:]}", changes)


def _lower_rate(runs: Sequence[Run], condition: Condition | None, line: str) -> Fix:
    changes: Changes = {}
    for run in runs:
        key = key_named(run.record.config, *LEARNING_RATE)
        rate = number(flat(run.record.config).get(key)) if key else None
        if key and rate:
            changes[run.key] = {key: float(f"{rate / 3:.2g}")}
    if changes:
        return Fix("Lower the learning rate to a third", changes)
    return Fix("Lower the learning rate or the largest gradient norm (--lr, --clip-norm)")


def _more_time(runs: Sequence[Run], condition: Condition | None, line: str) -> Fix:
    changes: Changes = {}
    for run in runs:
        key = key_named(run.record.config, *TIME)
        if key and (twice := _twice(flat(run.record.config)[key])) is not None:
            changes[run.key] = {key: twice}
    if changes:
        return Fix("Double the time limit", changes)
    where = _where(runs, condition)
    return Fix(f"Give it more time{where}, or validate and evaluate on fewer examples; {_AGAIN}")


def _elsewhere(runs: Sequence[Run], condition: Condition | None, line: str) -> Fix:
    where = _where(runs, condition)
    return Fix(
        f"Run it where it is stopped less{' than' + where if where else ''}, or save more often "
        f"(save_every) and raise max_preemptions; {_AGAIN}"
    )


def _install(runs: Sequence[Run], condition: Condition | None, line: str) -> Fix:
    found = re.search(r"[Nn]o module named ['\"]?([\w.]+)|[Pp]ackage '?([\w-]+)'?", line)
    name = next((part for part in found.groups() if part), "") if found else ""
    package = f"package {name.partition('.')[0]}" if name else "what the cause names"
    return Fix(f"Install {package}{_where(runs, condition)}; {_AGAIN}")


def _right_path(runs: Sequence[Run], condition: Condition | None, line: str) -> Fix:
    path = re.search(r"(?:[\w.~-]*/)+[\w.-]+", line)
    what = f"Put the data at {path[0]} or correct that path" if path else "Correct the data"
    return Fix(f"{what}{_where(runs, condition)}; {_AGAIN}")


def _free_disk(runs: Sequence[Run], condition: Condition | None, line: str) -> Fix:
    return Fix(f"Free disk space{_where(runs, condition)}, or keep fewer checkpoints; {_AGAIN}")


def _read_the_log(runs: Sequence[Run], condition: Condition | None, line: str) -> Fix:
    return Fix(f"Read log.txt in {runs[0].key}; {_AGAIN}")


# Class of an error -> its fix. One more entry is one more fix.
_PROPOSERS: dict[str, Proposer] = {
    OUT_OF_MEMORY: _less_memory,
    NAN: _lower_rate,
    TIMEOUT: _more_time,
    PREEMPTED: _elsewhere,
    IMPORT: _install,
    DATA: _right_path,
    DISK: _free_disk,
}
_AGAIN = "then mark for a re-run"


def _concretely(runs: Sequence[Run], changes: Mapping[str, dict[str, Any]]) -> str:
    """The changes themselves, where they are the same for all runs; and a full stop."""
    found = {
        tuple((key, flat(run.record.config).get(key), new) for key, new in own.items())
        for run in runs
        if (own := changes.get(run.key))
    }
    if len(found) != 1:
        return "."
    parts = (f"{k} {'default' if old is None else old} -> {new}" for k, old, new in found.pop())
    return f": {', '.join(parts)}."


def _where(runs: Sequence[Run], condition: Condition | None) -> str:
    """` on node-3`: the place that the condition names, or the one host of all runs."""
    for part in condition.parts if condition else ():
        if leaf(part.key) in ("host", "partition"):
            return f" on {part.value}"
    hosts = {run.record.host for run in runs}
    return f" on {hosts.pop()}" if len(hosts) == 1 and "" not in hosts and not condition else ""


def _whole(config: dict[str, Any], names: Sequence[str]) -> tuple[str, int] | None:
    key = key_named(config, *names)
    value = flat(config)[key] if key else None
    return (key, value) if key and isinstance(value, int) and value > 0 else None


def _twice(limit: Any) -> Any:
    """Twice a time: a number, or SLURM's D-HH:MM:SS; None if it is neither."""
    if (size := number(limit)) is not None:
        return int(2 * size) if isinstance(limit, int) else 2 * size
    if not (found := _CLOCK.fullmatch(str(limit))):
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total = 2 * (((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    return f"{total // 3600:02d}:{total // 60 % 60:02d}:{total % 60:02d}"
