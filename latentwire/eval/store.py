"""Answers on disk: a method that has answered is not asked again, one that was stopped goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from latentwire.core.files import read_jsonl, write_json, write_jsonl
from latentwire.core.progress import PartProgress, Progress
from latentwire.core.provenance import describe_environment
from latentwire.core.run_folder import RunFolder
from latentwire.data import Example
from latentwire.eval.method import Method, Prediction

_PART = 1024  # examples between two saves


@dataclass(frozen=True)
class Answers:
    """What one method answered, with one seed.

    Args:
        predictions: In the order of the examples.
        record: What made them: `about`, `settings`, `seconds`, `environment`, `fingerprint`.
        reused: Whether they were there already.
    """

    predictions: list[Prediction]
    record: dict[str, Any]
    reused: bool = False


def stored_answers(run: RunFolder, name: str, fingerprint: str) -> Answers | None:
    """Whole answers under this fingerprint, or None if there are none."""
    try:
        record = json.loads(run.record(name).read_text(encoding="utf-8"))
        if record["fingerprint"] != fingerprint:
            return None
        rows = read_jsonl(run.predictions(name))
        predictions = [Prediction.from_json(row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # absent, torn or of another form: the method is asked again
    return Answers(predictions, record, reused=True) if len(rows) == record["n"] else None


def answer_and_store(
    run: RunFolder,
    prepare: Callable[[Progress], Method],
    name: str,
    examples: Sequence[Example],
    fingerprint: str,
    progress: Progress,
) -> Answers:
    """Let a method answer and keep what it said, part by part.

    Args:
        run: Folder of the answers.
        prepare: Gives the method when it has made its choices; also where it goes on.
        name: Its name.
        examples: What is asked.
        fingerprint: Stands for all that decides the answers.
        progress: Told of each batch.
    """
    started = time.monotonic()
    method = prepare(progress)
    prepared = time.monotonic()
    done = _partial(run, name, fingerprint) if method.independent else []
    size = _PART if method.independent else max(len(examples), 1)
    for start in range(len(done), len(examples), size):
        part = examples[start : start + size]
        done += method.predict(part, PartProgress(progress, start, len(part), len(examples)))
        if len(done) < len(examples):
            rows = [{"fingerprint": fingerprint}, *(p.to_json() for p in done)]
            write_jsonl(run.partial(name), rows)
    record = {
        "method": name,
        "fingerprint": fingerprint,
        "about": method.about,
        "n": len(done),
        "settings": method.settings(),
        "seconds": {
            "prepare": prepared - started,
            "predict": time.monotonic() - prepared,
        },
        "environment": describe_environment(),
    }
    write_jsonl(run.predictions(name), [p.to_json() for p in done])
    write_json(run.record(name), record)
    run.partial(name).unlink(missing_ok=True)
    return Answers(done, record)


def _partial(run: RunFolder, name: str, fingerprint: str) -> list[Prediction]:
    """What the method had answered when it was stopped."""
    try:
        head, *rows = read_jsonl(run.partial(name))
        if head != {"fingerprint": fingerprint}:
            return []
        return [Prediction.from_json(row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError):
        return []
