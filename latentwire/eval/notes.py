"""Notes below a table of results: sources, prompts, truncated texts, samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from latentwire.data import Example, Task
from latentwire.eval.context import Context
from latentwire.wire.codecs import CODECS


def describe_prompts(context: Context) -> dict[str, Any]:
    """Return the options that determine how models are prompted."""
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
    """Return notes on the data, the prompts, truncated texts and similar choices."""
    notes = [
        *context.task.notes(),
        *_prompt_notes(context),
        *_message_notes(context),
        *_truncation_notes(context, examples),
        *_majority_notes(context.task, examples),
        *_collision_notes(context, examples),
    ]
    if limit is not None:
        notes.append(f"seeded random sample of {len(examples)} {split} examples")
    return notes


def has_label_prior(task: Task) -> bool:
    """Return whether labels can be calibrated: a fixed list, compared by log-likelihood."""
    return bool(task.labels) and task.metric == "acc"


def sample_note(name: str, n: int, n_all: int, split: str) -> str:
    """Return the note that a method answered only some of the examples."""
    return f"{name} answered a seeded random sample of {n} of the {n_all} {split} examples"


def _prompt_notes(context: Context) -> list[str]:
    forms = [
        f"the {role}'s prompts are {'chat turns' if lm.is_chat else 'plain text'}"
        for role, lm in (("sender", context.sender.lm), ("receiver", context.receiver.lm))
    ]
    notes = [
        f"setting {context.setting}; the sender's states are those of the "
        f"{context.sender_prompt} text; {' and '.join(forms)}"
    ]
    if context.sender.lm.is_chat or context.receiver.lm.is_chat:
        notes.append(
            "zero-shot and few-shot methods prompt a chat model with a chat turn or plain text, "
            "whichever is better on val"
        )
    if has_label_prior(context.task):
        notes.append(
            "methods that are not trained on labels divide the probability of each label by its "
            "mean over val if that is better on val; correct val labels are not used for the mean"
        )
    return notes


def _message_notes(context: Context) -> list[str]:
    if context.wire is None:
        return []
    codec, basis = context.wire.spec.codec, context.wire.basis
    rank = f" of rank {basis.rank}" if basis and CODECS.get(codec).needs_basis else ""
    return [f"messages are written as {codec}{rank}; scores use the rounded soft tokens"]


def _truncation_notes(context: Context, examples: Sequence[Example]) -> list[str]:
    notes = []
    for role, lm in (("sender", context.sender.lm), ("receiver", context.receiver.lm)):
        builder = context.prompt_builder(lm, "{context}")
        if n_cut := sum(builder.cut(example)[1] for example in examples):
            notes.append(
                f"{n_cut} of {len(examples)} texts were truncated to {builder.max_tokens} tokens "
                f"of the {role}; questions and choices are never truncated"
            )
    return notes


def _majority_notes(task: Task, examples: Sequence[Example]) -> list[str]:
    """Return the accuracy of the most common label, which is above chance for uneven labels."""
    counts = Counter(example.target for example in examples if example.target is not None)
    if not task.labels or not counts:
        return []
    (most, n), *_ = counts.most_common(1)
    share = 100 * n / len(examples)
    return [f"majority-class accuracy: {share:.1f} % (always '{task.labels[most]}')"]


def _collision_notes(context: Context, examples: Sequence[Example]) -> list[str]:
    """Count examples whose choices share their first token, or are equal."""
    if context.task.kind == "generation":
        return []
    builder = context.prompt_builder(context.receiver.lm, context.task.prompts[0])
    n_first = n_equal = 0
    for example in examples:
        answers = builder.build_handoff(example)[0].answers
        n_first += len({ids[0] for ids in answers}) < len(answers)
        n_equal += len(set(answers)) < len(answers)
    notes = []
    if n_first:
        notes.append(
            f"in {n_first} of {len(examples)} examples some choices share their first token for "
            "the receiver; scores are always those of whole choices"
        )
    if n_equal:
        notes.append(f"in {n_equal} of {len(examples)} examples two choices are equal")
    return notes
