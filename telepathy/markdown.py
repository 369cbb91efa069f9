"""Results as Markdown, for documents: the table, the verdict, and what a reader must know."""

from __future__ import annotations

from typing import Any

from telepathy.tables import METRIC_NAMES, p_value, points


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
    for check in found["checks"]:
        lines.append(
            f"- No strawman: {check['a']} against {check['b']} {points(check)} points, "
            f"p (Holm) {p_value(check['p_adjusted'])}."
        )
    return [*lines, ""] if lines else []


def _notes(found: dict[str, Any]) -> list[str]:
    return ["Notes:", "", *(f"- {note}" for note in found["notes"]), ""]
