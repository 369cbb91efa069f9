"""Commands with other values of their flags: what a changed configuration is run with."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from latentwire.core.errors import UsageError
from telepathy.experiments.analysis.config_keys import flatten as flat
from telepathy.experiments.analysis.config_keys import short_name as leaf
from telepathy.experiments.analysis.config_keys import with_changes as changed

_OUT = ("out", "output_dir", "out_dir")
Differences = Mapping[str, tuple[Any, Any]]


class CommandError(UsageError):
    """A command does not show the value that has to change."""


def rewritten(command: Sequence[str], differences: Differences) -> list[str]:
    """The command with new values.

    `--batch-size 16`, `--batch_size=16`, `batch_size=16` and JSON objects are known, as words or
    inside the text of a shell command. A value that the old configuration left at its default is
    added behind a flag that changes, spelled alike.

    Args:
        command: Program and arguments; an empty one stays empty, its runner goes by the
            configuration.
        differences: Dotted key -> old and new value.
    Raises: CommandError: If an old value is not found, or found more than once.
    """
    if not command:
        return []
    words = list(command)
    given = {key: pair for key, pair in differences.items() if pair[0] is not None}
    spelling, last = "", -1
    for key, (old, new) in given.items():
        hits = [i for i, _ in enumerate(words) if _replaced(words, i, key, old, new)]
        if len(hits) != 1:
            how = "does not show" if not hits else "shows more than once"
            raise CommandError(
                f"its command {how} {leaf(key)} {old}. Change the command by hand and add it anew"
            )
        last = hits[0]
        words[last : last + 1] = _replaced(words, last, key, old, new)
        spelling = words[last] if words[last].startswith("--") else words[max(last - 1, 0)]
    for key, (old, new) in differences.items():
        if old is not None or _added_to_json(words, key, new):
            continue
        if last < 0 or not spelling.startswith("--"):
            raise CommandError(f"its command has no place for {leaf(key)} {new}")
        flag = leaf(key).replace("_", "-") if "-" in spelling[2:].partition("=")[0] else leaf(key)
        words[last + 1 : last + 1] = [f"--{flag}", str(new)]
    return words


def elsewhere(command: Sequence[str], mark: str) -> list[str]:
    """The command with another output folder: the old one holds a run with other settings."""
    words = list(command)
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if not (name.startswith("--") and leaf(name[2:]) in _OUT):
            continue
        if equals:
            words[i] = f"{name}={value.rstrip('/')}-{mark[:8]}"
        elif i + 1 < len(words):
            words[i + 1] = f"{words[i + 1].rstrip('/')}-{mark[:8]}"
    return words


def _replaced(words: Sequence[str], i: int, key: str, old: Any, new: Any) -> list[str]:
    """What the i-th word becomes if it carries the old value of a key; nothing if it does not."""
    word, before = words[i], words[i - 1] if i else ""
    if before.startswith("--") and leaf(before[2:]) == leaf(key) and _same(word, old):
        return [str(new)]
    if (found := _object(word)) is not None:
        own = next((k for k, v in flat(found).items() if leaf(k) == leaf(key) and v == old), None)
        return [json.dumps(changed(found, {own: new}))] if own else []
    pattern = rf"(?<![\w-])((?:--)?[\w.]*\b{_either(key)}(?:=|\s+)){re.escape(str(old))}(?![\w.])"
    text, n = re.subn(pattern, rf"\g<1>{new}", word)
    return [text] if n == 1 else []


def _added_to_json(words: list[str], key: str, new: Any) -> bool:
    for i, word in enumerate(words):
        if (found := _object(word)) is not None:
            words[i] = json.dumps(changed(found, {key: new}))
            return True
    return False


def _object(word: str) -> dict[str, Any] | None:
    if not word.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(word)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _either(key: str) -> str:
    return "[-_]".join(map(re.escape, leaf(key).split("_")))


def _same(word: str, value: Any) -> bool:
    try:
        return float(word) == float(value)
    except (TypeError, ValueError):
        return word == str(value)
