"""Every answer's score in one table: from it anyone can make a suite's figures and tests again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from latentwire.eval.method import Prediction

BySeed = Mapping[int | None, Sequence[Prediction]]
"""What one method answered with each seed; None where it depends on none."""


def score_table(ids: Sequence[str], answered: Mapping[str, BySeed]) -> list[dict[str, str]]:
    """The primary metric of every answer, 0..1: a row for each example, a column for each answerer.

    Columns are `id` and, for each method, `name` or `name/seed`; a cell is empty where a method
    that answered a sample was not asked.

    Args:
        ids: Of the examples, in the order of the rows.
        answered: By method.
    """
    columns = {
        name if seed is None else f"{name}/{seed}": {p.id: _number(p.value) for p in predictions}
        for name, by_seed in answered.items()
        for seed, predictions in by_seed.items()
    }
    return [
        {"id": key, **{column: cells.get(key, "") for column, cells in columns.items()}}
        for key in ids
    ]


def _number(value: float) -> str:
    """As short as it can be read back exactly."""
    return repr(float(value)).removesuffix(".0")
