"""Accuracy and message size of every codec, compared with text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from latentwire.bench.subject import Subject
from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress
from latentwire.core.provenance import describe_environment
from latentwire.data import Example
from latentwire.data.spec import SplitName
from latentwire.eval.context import Context
from latentwire.eval.evaluate import context_of, fit_basis
from latentwire.eval.method import METHODS, Prediction
from latentwire.eval.results import MethodResult
from latentwire.models.lm import LanguageModel
from latentwire.prompting.builder import PromptBuilder
from latentwire.wire.basis import DEFAULT_RANK, Basis
from latentwire.wire.codecs import CODECS
from latentwire.wire.wire import Wire

RANKS = (8, 32, DEFAULT_RANK)


def measure_wire(
    subjects: Sequence[Subject],
    *,
    codecs: Sequence[str] | None = None,
    ranks: Sequence[int] = RANKS,
    split: SplitName = "test",
    limit: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Answer a split from messages of several codecs and measure their size and accuracy.

    Args:
        subjects: Trained runs on one task, for example with different numbers of soft tokens.
        codecs: Names of codecs; default: all.
        ranks: Ranks of `lowrank` messages; those above the receiver's width are left out.
        split: Split to answer.
        limit: Size of a seeded random sample of the split; default: the whole split.
        progress: Called after each batch.
    Returns: The JSON object of `latentwire bench wire --json`: one point per run and codec, and
        rows for the text itself (`zeroshot_receiver`) and the sender's answer (`sender_label`).
        The lower bound of a message's size is that of its numbers, without a header.
    Raises: UsageError: If a subject is not a trained run, the tasks differ, or a rank is below 1.
        UnknownNameError: If a codec does not exist.
    """
    names = list(codecs or CODECS.names())
    for name in names:
        CODECS.get(name)
    if not subjects or any(subject.run is None for subject in subjects):
        raise UsageError("`bench wire` measures trained bridges: give --run, once per run folder.")
    if len({subject.task.name for subject in subjects}) > 1:
        raise UsageError("The runs were trained on different tasks; give runs of one task.")
    if ranks and min(ranks) < 1:
        raise UsageError(f"The ranks are {', '.join(map(str, ranks))}; each must be 1 or more.")
    progress = progress or Progress()
    task = subjects[0].task
    examples = task.sample(split, limit, 0)
    points = [
        point
        for subject in subjects
        for point in _points(subject, names, ranks, examples, progress)
    ]
    texts = _texts(context_of(subjects[0].wire, task), examples, progress)
    return {
        "benchmark": "wire",
        **subjects[0].describe(),
        "device": str(subjects[0].lms[1].device),
        "split": split,
        "n": len(examples),
        "metric": task.metric,
        "chance": task.chance,
        "points": points,
        "methods": texts,
        "environment": describe_environment(),
    }


def _points(
    subject: Subject,
    names: Sequence[str],
    ranks: Sequence[int],
    examples: Sequence[Example],
    progress: Progress,
) -> list[dict[str, Any]]:
    """Return one point per codec and rank of one wire, whose own basis is used if it has one."""
    wire, width = subject.wire, subject.wire.receiver.soft_width
    made = []
    for name in names:
        if not CODECS.get(name).needs_basis:
            made.append((wire.with_codec(name), 0))
            continue
        fitting = sorted({rank for rank in ranks if rank <= width}) or [width]
        largest = _with_basis(wire, name, subject, fitting[-1], progress)
        made += [(_cut(largest, rank), rank) for rank in fitting]
    return [_point(subject, each, rank, examples, progress) for each, rank in made]


def _with_basis(wire: Wire, name: str, subject: Subject, rank: int, progress: Progress) -> Wire:
    """Return a wire with a basis of at least that rank, fitted to training texts if needed."""
    other = wire.with_codec(name)
    if other.basis is None or other.basis.rank < rank:
        other.basis = None
        fit_basis(context_of(other, subject.task), progress, rank=rank)
    return other


def _cut(wire: Wire, rank: int) -> Wire:
    """Return a wire with the first `rank` directions of its basis."""
    assert wire.basis is not None
    other = wire.with_codec(wire.spec.codec)
    other.basis = Basis(wire.basis.mean, wire.basis.directions[:rank].contiguous())
    return other


def _point(
    subject: Subject, wire: Wire, rank: int, examples: Sequence[Example], progress: Progress
) -> dict[str, Any]:
    context = context_of(wire, subject.task)
    found = METHODS.get("bridge")(context).predict(examples, progress)
    k, width = wire.spec.soft_tokens, wire.receiver.soft_width
    least = CODECS.get(wire.spec.codec)().n_bytes(k, rank or width)
    row = _row(found)
    return {
        "run": str(subject.run),
        "codec": wire.spec.codec,
        "rank": rank or None,
        "soft_tokens": k,
        **row,
        "lower_bound_bytes": least,
        "ratio_to_lower_bound": row["bytes"] / least,
    }


def _texts(
    context: Context, examples: Sequence[Example], progress: Progress
) -> dict[str, dict[str, Any]]:
    """Return size and accuracy of the text itself and of the sender's answer as text."""
    sizes = _text_bytes(context, context.receiver.lm, examples)
    rows = {}
    for name in ("zeroshot_receiver", "sender_label"):
        method = context.methods.prepared(name, progress)
        found = method.predict(examples, progress)
        if name == "zeroshot_receiver":
            found = [replace(p, n_bytes=size) for p, size in zip(found, sizes)]
        rows[name] = {"about": method.about, **_row(found)}
    return rows


def _text_bytes(context: Context, lm: LanguageModel, examples: Sequence[Example]) -> list[int]:
    """Return the bytes of each text, cut to the length that the model reads."""
    builder = PromptBuilder(context.task, lm, "{context}", context.max_tokens, context.setting)
    return [len(builder.cut(example)[0].context.encode()) for example in examples]


def _row(found: Sequence[Prediction]) -> dict[str, Any]:
    result = MethodResult.of(METHODS.get("bridge"), [found], {})
    score = result.metrics[next(iter(result.metrics))]
    return {
        "bytes": result.n_bytes,
        "accuracy": result.accuracy.to_json() if result.accuracy else None,
        "score": score.to_json(),
    }
