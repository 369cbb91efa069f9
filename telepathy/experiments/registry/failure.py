"""Classify failures by exception type, then exit code, then log text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from latentwire.core.errors import REQUEUE

OUT_OF_MEMORY, NAN, PREEMPTED, TIMEOUT = "out-of-memory", "nan", "preempted", "timeout"
DATA, IMPORT, DISK, UNKNOWN = "data", "import", "disk", "unknown"
ERROR_CLASSES = (OUT_OF_MEMORY, NAN, PREEMPTED, TIMEOUT, DATA, IMPORT, DISK, UNKNOWN)
SHORT_NAMES = {"oom": OUT_OF_MEMORY}

_TYPES = {
    "OutOfMemoryError": OUT_OF_MEMORY,
    "MemoryError": OUT_OF_MEMORY,
    "NonFiniteError": NAN,
    "FloatingPointError": NAN,
    "RequeueError": PREEMPTED,
    "TimeoutError": TIMEOUT,
    "TimeoutExpired": TIMEOUT,
    "DataError": DATA,
    "DatasetNotFoundError": DATA,
    "DataFilesNotFoundError": DATA,
    "DatasetGenerationError": DATA,
    "ArrowInvalid": DATA,
    "JSONDecodeError": DATA,
    "FileNotFoundError": DATA,
    "UnicodeDecodeError": DATA,
    "ImportError": IMPORT,
    "ModuleNotFoundError": IMPORT,
    "MissingPackageError": IMPORT,
    "DiskFullError": DISK,
}
# Shell convention: 128 + signal. A SIGKILL that this process did not send is attributed to the
# kernel's out-of-memory killer, its usual source on machines that run models.
_EXIT_CODES = {
    REQUEUE: PREEMPTED,
    124: TIMEOUT,
    137: OUT_OF_MEMORY,
    143: PREEMPTED,
    138: PREEMPTED,
    152: TIMEOUT,
}
_WORDS = (
    (OUT_OF_MEMORY, r"out of memory|cannot allocate memory|oom[- ]kill|CUBLAS_STATUS_ALLOC_FAILED"),
    (DISK, r"no space left on (the )?device|no space left on the disk|disk quota exceeded"),
    (PREEMPTED, r"due to preemption|preempted"),
    (TIMEOUT, r"due to time limit|timed out|time limit"),
    (IMPORT, r"no module named|cannot import name|is not installed"),
    (NAN, r"\b(loss|gradient|grad_norm|logits)\b.*\b(nan|inf(inite)?|not finite|non-finite)\b"),
    (DATA, r"data ?set.*(not found|doesn't exist|damaged)|no such file or directory"),
)
_EXCEPTION = re.compile(
    r"^(?:\[\w+\]:)?(?:[A-Za-z_]\w*\.)*([A-Z]\w*(?:Error|Exception|Expired|Invalid))(?::\s*(.*))?$"
)


def classify(
    error: str = "",
    exit_code: int | None = None,
    log_tail: Sequence[str] = (),
    types: Sequence[str] = (),
) -> tuple[str, str]:
    """Return the class of a failure and the evidence for it.

    Args:
        error: Error message; may start with an exception type.
        exit_code: Exit code of the process, in shell or Python convention.
        log_tail: Last lines of its log.
        types: Names of the exception class and its bases, if the program reported them.
    Returns: One of `ERROR_CLASSES`, and its evidence such as `exit code 137`.
    """
    for kind in types:
        if kind in _TYPES:
            return _TYPES[kind], f"exception {kind}"
    kinds = [match[1] for line in (*log_tail, error) if (match := _EXCEPTION.match(line.strip()))]
    for kind in reversed(kinds):
        if kind in _TYPES:
            return _TYPES[kind], f"exception {kind}"
    code = shell_exit_code(exit_code)
    if code in _EXIT_CODES:
        return _EXIT_CODES[code], f"exit code {code}"
    for line in (error, *reversed(log_tail)):
        for found, words in _WORDS:
            if match := re.search(words, line, re.IGNORECASE):
                return found, f"text '{match[0][:60]}'"
    return UNKNOWN, f"exit code {code}" if code is not None else ""


def cause_line(log_tail: Sequence[str]) -> str:
    """The log line that names the cause: the last exception or error, else the last line."""
    lines = [line.strip() for line in log_tail if line.strip()]
    for line in reversed(lines):
        if _EXCEPTION.match(line) or line.lower().startswith(("error:", "fatal:")):
            return line
    return lines[-1] if lines else ""


def shell_exit_code(exit_code: int | None) -> int | None:
    """Convert Python's exit code (-signal) to the shell convention (128 + signal)."""
    return 128 - exit_code if exit_code is not None and exit_code < 0 else exit_code
