"""Group failures by cause and describe what the runs of each group have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from telepathy.experiments.analysis.analyzed_run import AnalyzedRun
from telepathy.experiments.analysis.conditions import Condition, separating_condition
from telepathy.experiments.analysis.findings import Finding
from telepathy.experiments.analysis.fixes import propose_fix
from telepathy.experiments.registry import failure
from telepathy.experiments.registry.record import FAILED, PREEMPTED, STALE
from telepathy.experiments.registry.scheduling import is_due
from telepathy.reporting.numbers import count

# Error class -> patterns of short option names that can cause it, most likely first.
_RELEVANT: dict[str, Sequence[str]] = {
    failure.OUT_OF_MEMORY: (
        r"batch",
        r"max_(tokens|length|len)|seq|context",
        r"soft_tokens",
        r"model|sender|receiver|pair",
        r"recompute|precision|dtype",
        r"host|gpu|partition",
    ),
    failure.NAN: (r"^lr$|learning_rate", r"precision|dtype", r"clip|warmup|init|loss|weight|scale"),
    failure.TIMEOUT: (
        r"partition|host",
        r"time",
        r"steps|epochs|limit|max_tokens|batch",
        r"task|dataset",
    ),
    failure.PREEMPTED: (r"partition|host", r"time", r"steps|epochs"),
    failure.IMPORT: (
        r"host|partition",
        r"commit",
        r"method|baseline|bridge",
        r"model|sender|receiver",
    ),
    failure.DATA: (r"^task$|dataset|data", r"split|limit", r"host|partition"),
    failure.DISK: (r"host|partition", r"out|save|keep"),
}
_DESCRIPTIONS = {
    failure.OUT_OF_MEMORY: "out of memory",
    failure.NAN: "non-finite loss or gradient",
    failure.PREEMPTED: "preempted too often",
    failure.TIMEOUT: "time limit reached",
    failure.IMPORT: "missing or broken package",
    failure.DATA: "missing or damaged data",
    failure.DISK: "disk full",
}
# Parts of error messages that vary between failures of one cause.
_PLACEHOLDERS = (
    (r"\b0x[0-9a-fA-F]+", "<address>"),
    (r"(?:~|\.{1,2})?(?:/[\w.+~-]+)+/?|\b[\w.-]+(?:/[\w.+~-]+)+", "<path>"),
    (r"(?<![\w.])[-+]?\d[\d.,:]*(?:e[-+]?\d+)?(?: ?(?:[KMGT]i?B|ms|s|%))?(?!\w)", "<n>"),
)
_EXCEPTION = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Expired|Invalid)\b")


@dataclass(frozen=True)
class FailureGroup:
    """Failures of one error class with the same cause.

    Args:
        kind: Error class.
        cause: Cause with placeholders for numbers, paths and addresses.
        line: Cause as the first run reported it.
        runs: The failed runs.
        condition: Condition that they share and completed runs do not; None if there is none.
    """

    kind: str
    cause: str
    line: str
    runs: tuple[AnalyzedRun, ...]
    condition: Condition | None = None


def failure_findings(runs: Sequence[AnalyzedRun]) -> list[Finding]:
    """One finding per group of failures, largest group first."""
    return [_finding(group) for group in group_failures(runs)]


def group_failures(runs: Sequence[AnalyzedRun]) -> list[FailureGroup]:
    """Group failed runs, and preempted runs without retries left, by cause.

    Superseded runs are ignored.
    """
    current = [run for run in runs if not run.superseded]
    by_cause: dict[tuple[str, str], list[AnalyzedRun]] = {}
    for run in current:
        if has_failed(run):
            by_cause.setdefault(signature(run), []).append(run)
    groups = []
    for (kind, cause), members in by_cause.items():
        facts = [run.facts for run in members]
        forms = {run.is_flat for run in members}
        succeeded = [run.facts for run in current if run.completed and run.is_flat in forms]
        condition = separating_condition(facts, succeeded, _RELEVANT.get(kind, ()))
        groups.append(FailureGroup(kind, cause, cause_of(members[0]), tuple(members), condition))
    return sorted(groups, key=lambda group: (-len(group.runs), group.kind, group.cause))


def has_failed(run: AnalyzedRun) -> bool:
    """Whether a run failed or stopped without retries left."""
    stopped = run.record.state in (PREEMPTED, STALE)
    return run.record.state == FAILED or (stopped and not is_due(run.record))


def signature(run: AnalyzedRun) -> tuple[str, str]:
    """Error class and cause with placeholders; equal for failures of the same cause."""
    record = run.record
    if record.state != FAILED:
        return failure.PREEMPTED, "no preemptions left"
    line = cause_of(run)
    if not _EXCEPTION.match(line) and record.error_evidence.startswith("exit code"):
        return record.error_class, record.error_evidence  # the last line is ordinary output
    for word in {run.task, record.host, record.name} - {""}:
        line = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", "<name>", line)
    for pattern, word in _PLACEHOLDERS:
        line = re.sub(pattern, word, line)
    return record.error_class, line


def cause_of(run: AnalyzedRun) -> str:
    """Line that names the cause: the reported exception, else a line of the log."""
    record = run.record
    if _EXCEPTION.match(record.error) or not record.log_tail:
        return record.error.splitlines()[0] if record.error else record.error_evidence
    return failure.cause_line(record.log_tail)


def _finding(group: FailureGroup) -> Finding:
    n, condition = len(group.runs), group.condition
    what = _DESCRIPTIONS.get(group.kind, "failed")
    details = [f"Cause: {group.line[:200]}"]
    if condition:
        statement = f"{what} {condition.sentence}."
        details.append(f"Certainty: {condition.certainty}.")
    elif n == 1:
        statement = f"{what}, 1 run ({group.runs[0].record.name})."
    else:
        statement = f"{what}, {count(n, 'run')}; no condition separates them from completed runs."
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
        fix=propose_fix(group.kind, group.runs, condition, group.line),
    )
