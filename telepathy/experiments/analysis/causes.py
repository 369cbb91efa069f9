"""Failures by mechanism: like ones together, with the line that names the cause."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from telepathy.experiments.analysis.conditions import Condition, separating
from telepathy.experiments.analysis.findings import Finding
from telepathy.experiments.analysis.fixes import propose
from telepathy.experiments.analysis.run import Run
from telepathy.experiments.registry.failure import (
    DATA,
    DISK,
    IMPORT,
    NAN,
    OUT_OF_MEMORY,
    PREEMPTED,
    TIMEOUT,
    cause_line,
)
from telepathy.experiments.registry.record import FAILED, STALE
from telepathy.experiments.registry.record import PREEMPTED as PREEMPTED_STATE
from telepathy.experiments.registry.scheduling import is_due
from telepathy.reporting.numbers import count

# Class of an error -> patterns for the keys that can bring it about, the likeliest first.
RELEVANT: dict[str, Sequence[str]] = {
    OUT_OF_MEMORY: (
        r"batch",
        r"max_(tokens|length|len)|seq|context",
        r"soft_tokens",
        r"model|sender|receiver|pair",
        r"recompute|precision|dtype",
        r"host|gpu|partition",
    ),
    NAN: (r"^lr$|learning_rate", r"precision|dtype", r"clip|warmup|init|loss|weight|scale"),
    TIMEOUT: (r"partition|host", r"time", r"steps|epochs|limit|max_tokens|batch", r"task|dataset"),
    PREEMPTED: (r"partition|host", r"time", r"steps|epochs"),
    IMPORT: (r"host|partition", r"commit", r"method|baseline|bridge", r"model|sender|receiver"),
    DATA: (r"^task$|dataset|data", r"split|limit", r"host|partition"),
    DISK: (r"host|partition", r"out|save|keep"),
}
_WHAT = {
    OUT_OF_MEMORY: "out of memory",
    NAN: "loss or gradient not finite",
    PREEMPTED: "preempted until the budget was used up",
    TIMEOUT: "time limit reached",
    IMPORT: "a package is missing or does not load",
    DATA: "data missing or damaged",
    DISK: "disk full",
}
_ABSTRACT = (
    (r"\b0x[0-9a-fA-F]+", "<address>"),
    (r"(?:~|\.{1,2})?(?:/[\w.+~-]+)+/?|\b[\w.-]+(?:/[\w.+~-]+)+", "<path>"),
    (r"(?<![\w.])[-+]?\d[\d.,:]*(?:e[-+]?\d+)?(?: ?(?:[KMGT]i?B|ms|s|%))?(?!\w)", "<n>"),
)
_TYPED = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Expired|Invalid)\b")


@dataclass(frozen=True)
class Group:
    """Failures of one class whose cause reads alike.

    Args:
        kind: Class of the error.
        cause: The cause, with numbers, paths and addresses abstracted.
        line: The cause as the first of them said it.
        runs: Those that failed so.
        condition: What they share and the runs that succeeded do not; None if nothing.
    """

    kind: str
    cause: str
    line: str
    runs: tuple[Run, ...]
    condition: Condition | None = None


def failures_of(runs: Sequence[Run]) -> list[Finding]:
    """One finding for each mechanism, those with most runs first."""
    return [_finding(group) for group in groups_of(runs)]


def groups_of(runs: Sequence[Run]) -> list[Group]:
    """Like failures together: failed, or stopped until the budget of preemptions was used up.

    What was superseded by another configuration since is left out.
    """
    current = [run for run in runs if not run.superseded]
    alike: dict[tuple[str, str], list[Run]] = {}
    for run in current:
        if has_failed(run):
            alike.setdefault(signature(run), []).append(run)
    succeeded = [run.facts for run in current if run.completed]
    groups = []
    for (kind, cause), members in alike.items():
        facts = [run.facts for run in members]
        condition = separating(facts, succeeded, RELEVANT.get(kind, ()))
        groups.append(Group(kind, cause, cause_of(members[0]), tuple(members), condition))
    return sorted(groups, key=lambda group: (-len(group.runs), group.kind, group.cause))


def has_failed(run: Run) -> bool:
    """Whether a run is given up or failed; one that only waits for its next start has not."""
    stopped = run.record.state in (PREEMPTED_STATE, STALE)
    return run.record.state == FAILED or (stopped and not is_due(run.record))


def signature(run: Run) -> tuple[str, str]:
    """Class and abstracted cause: equal for failures of one mechanism."""
    record = run.record
    if record.state != FAILED:
        return PREEMPTED, "budget of preemptions used up"
    line = cause_of(run)
    if not _TYPED.match(line) and record.error_evidence.startswith("exit code"):
        return record.error_class, record.error_evidence  # its last words were about its work
    for word in {run.task, record.host, record.name} - {""}:
        line = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", "<name>", line)
    for pattern, word in _ABSTRACT:
        line = re.sub(pattern, word, line)
    return record.error_class, line


def cause_of(run: Run) -> str:
    """The line that names the cause: the exception that was left, else the log's."""
    record = run.record
    if _TYPED.match(record.error) or not record.log_tail:
        return record.error.splitlines()[0] if record.error else record.error_evidence
    return cause_line(record.log_tail)


def _finding(group: Group) -> Finding:
    n, condition = len(group.runs), group.condition
    what = _WHAT.get(group.kind, "failed")
    statement = f"{what}, {count(n, 'run')}: no condition sets them apart."
    if n == 1:
        statement = f"{what}, 1 run ({group.runs[0].record.name}): one run shows no pattern."
    details = [f"Cause: {group.line[:200]}"]
    if condition:
        statement = f"{what} {condition.sentence}."
        details.append(f"Certainty: {condition.certainty}.")
    fix = propose(group.kind, group.runs, condition, group.line)
    return Finding(
        kind=group.kind,
        statement=statement[0].upper() + statement[1:],
        keys=tuple(run.key for run in group.runs),
        details=tuple(details),
        about=(group.kind, str(condition or "")),
        data={
            "cause": group.line,
            "abstracted": group.cause,
            "condition": str(condition) if condition else None,
            "n_failed": n,
            "n_succeeded_with": condition.n_succeeded if condition else None,
            "n_succeeded_without": condition.n_other if condition else None,
            "p_value": condition.p_value if condition else None,
            "p_corrected": condition.p_corrected if condition else None,
        },
        fix=fix,
    )
