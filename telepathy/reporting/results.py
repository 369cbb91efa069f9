"""Show the results of evaluations (`results.json`) in a terminal, as JSON or as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from latentwire.core.files import write_text
from latentwire.eval.statistics import LEVEL
from telepathy.reporting.numbers import (
    difference_and_interval,
    interval,
    metric_name,
    p_value,
    percent,
    score_and_interval,
)
from telepathy.reporting.sentences import bridge_sentences, check_sentence, is_weak, median_ms
from telepathy.reporting.table import Column, Table, print_wrapped
from telepathy.reporting.text import print_json


def show_results(found: dict[str, Any], as_json: bool) -> None:
    """Print the results of one evaluation: a table with its interpretation, or one JSON object.

    Args:
        found: Content of `results.json`.
        as_json: Print JSON.
    """
    if as_json:
        print_json(found)
        return
    results_table(found).print()
    sentences = [check_sentence(check) for check in found["checks"] if is_weak(check)]
    if "bridge" in found["methods"]:
        sentences = bridge_sentences(found) + sentences
    for title, lines in (("Meaning", sentences), ("Notes", _notes(found))):
        if lines:
            print(f"\n{title}:")
            for line in lines:
                print_wrapped(f"- {line}", indent="  ")
    if found.get("run"):
        print(f"\nRun folder: {found['run']}")


def show_suites(found: Sequence[dict[str, Any]], out: Path, as_json: bool) -> None:
    """Print the results of a suite on several tasks and write them to `table.md`.

    Args:
        found: Content of `results.json` for each task.
        out: Folder of `table.md`.
        as_json: Print one JSON object: the results of one task, or `tasks` by name.
    """
    write_text(out / "table.md", suites_markdown(found))
    if as_json and len(found) > 1:
        print_json({"tasks": {each["task"]: each for each in found}})
        return
    for each in found:
        show_results(each, as_json)


def suites_markdown(found: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown document: a table of all tasks if there are several, a section for each.

    Args:
        found: Content of `results.json` for each task.
    """
    lines: list[str] = []
    if len(found) > 1:
        cells = {
            (name, each["task"]): score_cell(
                row["metrics"][each["metric"]], _significant_gain(each["comparisons"], name)
            )
            for each in found
            for name, row in each["methods"].items()
        }
        lines = ["## All tasks", "", *score_matrix(cells, next(iter(found[0]["methods"]))), ""]
    return "\n".join([*lines, *map(results_markdown, found)])


def results_markdown(found: dict[str, Any]) -> str:
    """Return a Markdown section with the results of one evaluation.

    Args:
        found: Content of `results.json`.
    """
    sentences = [verdict["sentence"] for verdict in found["verdicts"]]
    sentences += [check_sentence(check) for check in found["checks"]]
    lines = [f"## {found['task']}", "", f"{_description(found)}.", ""]
    lines += [*results_table(found).markdown(), ""]
    if sentences:
        lines += [*(f"- {sentence}" for sentence in sentences), ""]
    return "\n".join([*lines, "Notes:", "", *(f"- {note}" for note in _notes(found)), ""]) + "\n"


def score_matrix(cells: Mapping[tuple[str, str], str], reference: str) -> list[str]:
    """Markdown lines of a table with one row per method and one column per task.

    Args:
        cells: Cell for each method and task; see `score_cell`.
        reference: Method that the marks ▲ and ▼ refer to.
    """
    tasks = list(dict.fromkeys(task for _, task in cells))
    columns = [Column("method", left=True, code=True), *(Column(t, left=True) for t in tasks)]
    table = Table(columns)
    for method in dict.fromkeys(method for method, _ in cells):
        table.add(method, *(cells.get((method, task), "") for task in tasks))
    return [
        *table.markdown(),
        "",
        f"Scores in % with 95 % intervals. ▲ better than {reference}, ▼ worse (paired test, "
        f"p ≤ {LEVEL} after Holm's correction); without a mark the difference is not significant.",
    ]


def score_cell(score: Mapping[str, Any], gain: float | None) -> str:
    """A score with its interval and a mark.

    Args:
        score: `value`, `ci_low` and `ci_high`, 0..1.
        gain: Difference to the reference if it is significant, else None.
    """
    mark = "" if not gain else " ▲" if gain > 0 else " ▼"
    return score_and_interval(score) + mark


def results_table(found: dict[str, Any]) -> Table:
    """Table with one row per method; empty columns are omitted.

    Args:
        found: Content of `results.json`.
    """
    methods, metric = found["methods"], found["metric"]
    against = {comparison["b"]: comparison for comparison in found["comparisons"]}
    relay_ms = median_ms(methods.get("text_relay", {}))
    one_seed = all(row["metrics"][metric]["n_seeds"] == 1 for row in methods.values())
    Cell = Callable[[str, dict[str, Any]], str]

    def score(name: str, row: dict[str, Any]) -> dict[str, Any]:
        return dict(row["metrics"][metric])

    def speedup(name: str, row: dict[str, Any]) -> str:
        own = median_ms(row)
        return f"{relay_ms / own:.1f}x" if relay_ms and own else ""

    def compared(show: Callable[[dict[str, Any]], str]) -> Cell:
        return lambda name, row: show(against[name]) if name in against else ""

    def other(name: str) -> Cell:
        return lambda _, row: f"{100 * row['metrics'][name]['value']:.1f}"

    columns: list[tuple[Column, Cell]] = [
        (Column("method", left=True, code=True), lambda name, row: name),
        (Column("what it is", left=True, wraps=True, hide=1), lambda name, row: row["about"]),
        (Column(f"{metric_name(metric)} %"), lambda n, r: f"{100 * score(n, r)['value']:.1f}"),
        (Column("95 % interval"), lambda n, r: interval(score(n, r))),
        *(
            (Column(f"{metric_name(name)} %", hide=3), other(name))
            for name in _other_metrics(found)
        ),
        (Column("n", hide=5), lambda n, r: f"{score(n, r)['n']:,}"),
        (
            Column("seeds", hide=2),
            lambda n, r: "" if one_seed else str(score(n, r)["n_seeds"]),
        ),
        (Column("unparsed"), lambda n, r: f"{r['unparsed']:,}" if r["unparsed"] else ""),
        (Column(f"{next(iter(methods))} minus it"), compared(difference_and_interval)),
        (Column("p (Holm)"), compared(lambda comparison: p_value(comparison["p_adjusted"]))),
        (Column("ms"), lambda n, r: "" if (ms := median_ms(r)) is None else f"{ms:.0f}"),
        (Column("vs relay", hide=4), speedup),
        (Column("bytes", hide=6), lambda n, r: "" if r["bytes"] is None else f"{r['bytes']:,.0f}"),
    ]
    table = Table([column for column, _ in columns], f"{found['task']}: {_description(found)}")
    for name, row in methods.items():
        table.add(*(cell(name, row) for _, cell in columns))
    return table.without_empty_columns()


def _description(found: dict[str, Any]) -> str:
    pair = found["pair"]
    chance = f", chance {percent(found['chance'])}" if found["chance"] else ""
    text = f"{found['split']} split, {found['n']:,} examples{chance}; {pair['sender']} -> "
    return f"{text}{pair['receiver']}"


def _notes(found: dict[str, Any]) -> list[str]:
    notes = list(found["notes"])
    if found["comparisons"]:
        first = next(iter(found["methods"]))
        notes.insert(
            0,
            f"'{first} minus it' is the difference of the scores in points with its 95 % interval, "
            "paired on the same examples; p-values are corrected by Holm's method.",
        )
    if any(median_ms(row) for row in found["methods"].values()):
        notes.insert(
            1 if found["comparisons"] else 0,
            "'ms' is the median time of one answer from text to label; 'vs relay' is the speed-up "
            "over text_relay.",
        )
    return notes


def _significant_gain(comparisons: Sequence[dict[str, Any]], name: str) -> float | None:
    """Difference of a method to the first one; None if it is not significant."""
    for comparison in comparisons:
        if comparison["b"] == name and comparison["p_adjusted"] <= LEVEL:
            return -float(comparison["difference"])
    return None


def _other_metrics(found: dict[str, Any]) -> list[str]:
    """Metrics that differ from the primary one for some method."""
    rows = [row["metrics"] for row in found["methods"].values()]
    primary = found["metric"]
    others = [name for name in rows[0] if name != primary]
    return [o for o in others if any(row[o]["value"] != row[primary]["value"] for row in rows)]
