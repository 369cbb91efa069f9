"""Functions that add fields to rows; a task file selects one with `example.prepare`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from latentwire.core.errors import DataError
from latentwire.data.rows import Row
from latentwire.data.templates import field


def hellaswag(row: Row) -> dict[str, Any]:
    """Add `story` and `clean_endings`, without wikiHow's [markers], as in lm-evaluation-harness.

    Also add `series`: the source video or article, which several items share, if known.

    Source: lm-evaluation-harness, task hellaswag, version 1.0.
    """
    if row.get("ctx_a") is None:  # some copies of the data set have only the joined text
        situation = str(field(row, "ctx"))
    else:
        situation = f"{row['ctx_a']} {str(field(row, 'ctx_b')).capitalize()}"
    story = _without_markers(f"{field(row, 'activity_label')}: {situation}")
    endings = [_without_markers(str(ending)) for ending in field(row, "endings")]
    series = row.get("source_id") or story
    return {**row, "story": story, "clean_endings": endings, "series": series}


def winogrande(row: Row) -> dict[str, Any]:
    """Add `before` and `after`: the parts of the sentence around its blank `_`."""
    sentence = str(field(row, "sentence"))
    before, blank, after = sentence.partition("_")
    if not blank:
        raise DataError(f"the sentence '{sentence}' has no blank _")
    return {**row, "before": before, "after": after.strip()}


def gsm8k(row: Row) -> dict[str, Any]:
    """Add `final`: the number after ####, without thousands separators."""
    _, mark, final = str(field(row, "answer")).rpartition("####")
    if not mark:
        raise DataError("field 'answer' has no #### before the final number")
    return {**row, "final": final.strip().replace(",", "")}


def hotpot_qa(row: Row) -> dict[str, Any]:
    """Add `paragraphs`: `Title: sentences`, one paragraph per line."""
    titles, bodies = field(row, "context.title"), field(row, "context.sentences")
    lines = [f"{title}: {''.join(body)}" for title, body in zip(titles, bodies, strict=True)]
    return {**row, "paragraphs": "\n".join(lines)}


PREPARE: dict[str, Callable[[Row], dict[str, Any]]] = {
    function.__name__: function for function in (hellaswag, winogrande, gsm8k, hotpot_qa)
}


def _without_markers(text: str) -> str:
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")
