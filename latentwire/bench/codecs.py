"""Accuracy against bytes: every codec of a bridge's messages, beside what text would cost."""

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
    """Let trained wires answer a split from their messages, each written in several ways.

    Args:
        subjects: Runs on one task, perhaps with messages of different length.
        codecs: Names; all by default.
        ranks: Of `lowrank` messages; those above the receiver's width are left out.
        split: What is answered.
        limit: Answer a seeded random sample of so many examples instead.
        progress: Told of each batch.
    Returns: What `latentwire bench wire --json` prints: one point for each codec, and those of
        the text itself (`zeroshot_receiver`) and of the sender's answer (`sender_label`). The
        lower bound of a message's bytes is its numbers alone, without a header.
    Raises: UsageError: If there is no run, the runs differ in task, or a rank is below 1;
        UnknownNameError: If there is no such codec.
    """
    names = list(codecs or CODECS.names())
    for name in names:
        CODECS.get(name)
    if not subjects or any(subject.run is None for subject in subjects):
        raise UsageError(
            "Accuracy on the wire is that of a trained bridge: give --run (repeat it for several)."
        )
    if len({subject.task.name for subject in subjects}) > 1:
        raise UsageError("The runs of one curve are trained on one task; these differ in it.")
    if ranks and min(ranks) < 1:
        raise UsageError(f"Ranks are 1 or more; they were given as {', '.join(map(str, ranks))}.")
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
    """One for each codec of one wire; its own basis, if it has one, is used as it is."""
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
    """The wire with a basis of at least that rank, fitted to training texts."""
    other = wire.with_codec(name)
    if other.basis is None or other.basis.rank < rank:
        other.basis = None
        fit_basis(context_of(other, subject.task), progress, rank=rank)
    return other


def _cut(wire: Wire, rank: int) -> Wire:
    """The wire with the first directions of its basis: the basis of that rank."""
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
    """What text carries: all of it, and the sender's answer alone."""
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
    """Bytes of each text as a model reads it, cut to its limit."""
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
