"""What a reader of a table must know: how the task was asked, what was cut, what is a sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from latentwire.data import Example, Task
from latentwire.eval.context import Context
from latentwire.wire.codecs import CODECS


def asked(context: Context) -> dict[str, Any]:
    """How the task is asked, in words of the command line."""
    return {
        "setting": context.setting,
        "sender_prompt": context.sender_prompt,
        "codec": context.wire.spec.codec if context.wire else None,
        "max_tokens": context.max_tokens or context.task.max_context_tokens,
        "chat": {"sender": context.sender.lm.is_chat, "receiver": context.receiver.lm.is_chat},
    }


def notes_of(
    context: Context, examples: Sequence[Example], split: str, limit: int | None
) -> list[str]:
    """Where the data is from, how it was asked, what was cut and what choices have in common."""
    task, how = context.task, asked(context)
    turns = {True: "a chat turn", False: "plain text"}
    notes = [
        *task.notes(),
        f"setting {how['setting']}; the sender's states are taken on the "
        f"{how['sender_prompt']} text; prompts are {turns[how['chat']['sender']]} for the "
        f"sender, {turns[how['chat']['receiver']]} for the receiver",
    ]
    if any(how["chat"].values()):
        notes.append(
            "zero- and few-shot ask a chat model in a turn or in plain text, whichever is better "
            "on val"
        )
    if has_label_prior(task):
        notes.append(
            "where nothing was trained on labels and a model chooses one, its probabilities are "
            "divided by their means over val (right labels unseen) if that is better on val"
        )
    if context.wire is not None:
        spec, basis = context.wire.spec, context.wire.basis
        rank = f" of rank {basis.rank}" if basis and CODECS.get(spec.codec).needs_basis else ""
        notes.append(
            f"messages are written as {spec.codec}{rank}; what is scored is what was read "
            "from their bytes"
        )
    for role, lm in (("sender", context.sender.lm), ("receiver", context.receiver.lm)):
        builder = context.prompt_builder(lm, "{context}")
        if n_cut := sum(builder.cut(example)[1] for example in examples):
            notes.append(
                f"{n_cut} of {len(examples)} texts were cut to {builder.max_tokens} tokens of the "
                f"{role}; questions and choices never are"
            )
    notes += [*_majority_notes(task, examples), *_collision_notes(context, examples)]
    if limit is not None:
        notes.append(f"a seeded random sample of {len(examples)} {split} examples")
    return notes


def has_label_prior(task: Task) -> bool:
    """Return whether labels can be calibrated: a fixed list, compared by log-likelihood."""
    return bool(task.labels) and task.metric == "acc"


def sample_note(name: str, n: int, of: int, split: str) -> str:
    """That a method answered a part of the examples only."""
    return f"{name} answered a seeded random sample of {n} of the {of} {split} examples"


def _majority_notes(task: Task, examples: Sequence[Example]) -> list[str]:
    """What naming one label always would score: where labels are uneven, more than chance."""
    counts = Counter(example.target for example in examples if example.target is not None)
    if not task.labels or not counts:
        return []
    (most, n), *_ = counts.most_common(1)
    label, share = task.labels[most], 100 * n / len(examples)
    return [f"who always says '{label}', the most common label, is right in {share:.1f} %"]


def _collision_notes(context: Context, examples: Sequence[Example]) -> list[str]:
    """How often the first token cannot tell choices apart, and how often nothing can."""
    if context.task.kind == "generation":
        return []
    builder = context.prompt_builder(context.receiver.lm, context.task.prompts[0])
    first = same = 0
    for example in examples:
        answers = builder.build_handoff(example)[0].answers
        first += len({ids[0] for ids in answers}) < len(answers)
        same += len(set(answers)) < len(answers)
    found = []
    if first:
        found.append(
            f"in {first} of {len(examples)} examples choices share their first token for the "
            "receiver: whole choices are scored, always"
        )
    if same:
        found.append(f"in {same} of {len(examples)} examples two choices are the same words")
    return found
