"""Results as Markdown, for documents: the table, the verdict, and what a reader must know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from telepathy.experiments.analysis.comparisons import LEVEL
from telepathy.reporting.checks import check_sentence
from telepathy.reporting.tables import METRIC_NAMES, p_value, points


def suites_markdown(found: Sequence[dict[str, Any]]) -> str:
    """A document: all tasks side by side, if there are several, then a section for each.

    Args:
        found: `results.json` of a suite on each task.
    """
    lines: list[str] = []
    if len(found) > 1:
        cells = {
            (name, each["task"]): score_cell(
                row["metrics"][each["metric"]], _mark(each["comparisons"], name)
            )
            for each in found
            for name, row in each["methods"].items()
        }
        lines = ["## All tasks", "", *score_matrix(cells, next(iter(found[0]["methods"]))), ""]
    return "\n".join([*lines, *map(results_markdown, found)])


def score_matrix(cells: Mapping[tuple[str, str], str], reference: str) -> list[str]:
    """A row for each method, a column for each task, and what the marks say.

    Args:
        cells: By method and task; see `score_cell`.
        reference: What the marks compare with.
    """
    tasks = list(dict.fromkeys(task for _, task in cells))
    lines = [f"| method | {' | '.join(tasks)} |", "|---|" + "---|" * len(tasks)]
    for method in dict.fromkeys(method for method, _ in cells):
        row = [cells.get((method, task), "") for task in tasks]
        lines.append(f"| `{method}` | {' | '.join(row)} |")
    return [
        *lines,
        "",
        f"Scores in %, with 95 % intervals. ▲ better than {reference}, ▼ worse (paired, "
        f"p ≤ {LEVEL} after Holm); without a mark no difference is shown.",
    ]


def score_cell(score: Mapping[str, Any], difference: float | None) -> str:
    """A score with its interval.

    Args:
        score: `value`, `ci_low` and `ci_high`, 0..1.
        difference: How far it is above the reference, where that is shown; else None.
    """
    low, high = 100 * score["ci_low"], 100 * score["ci_high"]
    mark = "" if not difference else " ▲" if difference > 0 else " ▼"
    return f"{100 * score['value']:.1f} ({low:.1f} - {high:.1f}){mark}"


def _mark(comparisons: Sequence[dict[str, Any]], name: str) -> float | None:
    """How far a method is above the first one, where that is shown."""
    for each in comparisons:
        if each["b"] == name and each["p_adjusted"] <= LEVEL:
            return -float(each["difference"])
    return None


def results_markdown(found: dict[str, Any]) -> str:
    """One section of a document.

    Args:
        found: `results.json` of an evaluation or of a suite.
    """
    return "\n".join([*_head(found), *_table(found), *_verdicts(found), *_notes(found)]) + "\n"


def _head(found: dict[str, Any]) -> list[str]:
    pair = found["pair"]
    chance = f", chance {100 * found['chance']:.1f} %" if found["chance"] else ""
    return [
        f"## {found['task']}",
        "",
        f"{found['split']} split, {found['n']:,} examples{chance}; {pair['sender']} -> "
        f"{pair['receiver']}.",
        "",
    ]


def _table(found: dict[str, Any]) -> list[str]:
    metric = METRIC_NAMES[found["metric"]]
    against = {c["b"]: c for c in found["comparisons"]}
    first = next(iter(found["methods"]))
    lines = [
        f"| method | what it is | {metric} % | 95 % interval | n | seeds | bytes "
        f"| {first} minus it, points | p (Holm) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in found["methods"].items():
        score = row["metrics"][found["metric"]]
        sent = "" if row["bytes"] is None else f"{row['bytes']:,.0f}"
        paired = ["", ""]
        if comparison := against.get(name):
            paired = [points(comparison), p_value(comparison["p_adjusted"])]
        cells = [
            f"`{name}`",
            row["about"],
            f"{100 * score['value']:.1f}",
            f"{100 * score['ci_low']:.1f} - {100 * score['ci_high']:.1f}",
            f"{score['n']:,}",
            f"{score['n_seeds']}",
            sent,
            *paired,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _verdicts(found: dict[str, Any]) -> list[str]:
    lines = [f"- {verdict['sentence']}" for verdict in found["verdicts"]]
    lines += [f"- {check_sentence(check)}" for check in found["checks"]]
    return [*lines, ""] if lines else []


def _notes(found: dict[str, Any]) -> list[str]:
    return ["Notes:", "", *(f"- {note}" for note in found["notes"]), ""]
