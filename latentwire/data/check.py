"""Find all mistakes in a task file and its data, for `latentwire tasks check`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from latentwire.core.errors import DataError, LatentWireError
from latentwire.data.build import ExampleBuilder
from latentwire.data.load import check_spec, read_content
from latentwire.data.sources import Source, find_source
from latentwire.data.spec import TaskSpec
from latentwire.data.splits import is_kept, text_key

_SHOWN = 20  # number of mistakes listed per split; further ones are only counted


def check_task(path: str | Path) -> list[str]:
    """Return all mistakes in a task file and its data; [] if there are none.

    The data (all rows of all splits) is read only if the YAML file has no mistakes.
    """
    path = Path(path)
    try:
        content = read_content(path)
    except LatentWireError as error:
        return [str(error)]
    spec, mistakes = check_spec(content)
    if spec is None or mistakes:
        return mistakes
    try:
        source = find_source(spec, path.parent)
    except LatentWireError as error:
        return [str(error)]
    return _check_data(spec, source)


def _check_data(spec: TaskSpec, source: Source) -> list[str]:
    found: list[str] = []
    ids: dict[str, str] = {}
    texts: dict[str, tuple[str, str]] = {}
    for split in dict.fromkeys(spec.splits.values()):
        try:
            mistakes = list(_check_split(spec, source, split, ids, texts))
        except LatentWireError as error:
            mistakes = [str(error)]
        found += mistakes[:_SHOWN]
        if len(mistakes) > _SHOWN:
            found.append(f"{split}: {len(mistakes) - _SHOWN:,} more mistakes")
    return found


def _check_split(
    spec: TaskSpec,
    source: Source,
    split: str,
    ids: dict[str, str],
    texts: dict[str, tuple[str, str]],
) -> Iterator[str]:
    build, key = ExampleBuilder(spec), text_key(spec)
    n_rows = 0
    for index, row in enumerate(source.rows(split)):
        place = f"{split}-{index}"
        try:
            if not is_kept(spec, row):
                continue
            n_rows += 1
            example = build(row, place)
        except DataError as error:
            yield str(error)
            continue
        if not example.context:
            yield f"{place}: empty context"
        if first := ids.get(example.id):
            yield f"{place}: id '{example.id}' is already used by {first}"
        ids.setdefault(example.id, place)
        other, first = texts.setdefault(key(example), (split, place))
        if other != split:
            yield f"{place}: the same text is also in split {other} ({first})"
    if not n_rows:
        yield f"{split}: no rows"
