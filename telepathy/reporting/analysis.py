"""The analysis as people read it: lines of 80 columns, and a page in Markdown with links."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from telepathy.experiments.analysis.analysis import Analysis
from telepathy.experiments.analysis.comparisons import Pair
from telepathy.experiments.analysis.findings import Finding
from telepathy.experiments.analysis.results import Cell
from telepathy.reporting.numbers import (
    count,
    difference_and_interval,
    interval,
    p_equals,
    p_value,
)
from telepathy.reporting.results import score_cell, score_matrix
from telepathy.reporting.text import WIDTH, table

_SHOWN_KEYS = 4
_COLUMNS = (("task", 12), ("method", 28), ("score", 6), ("95 %", 13), ("n", 6), ("seeds", 5))
_TITLES = (
    ("What failed, by mechanism", "Nothing failed."),
    ("What looks wrong though it succeeded", "Nothing."),
    ("What to run next", "Nothing."),
)


def as_text(found: Analysis) -> list[str]:
    """The analysis for a terminal."""
    lines = [*_wrapped(_head(found)), "", "What succeeded, and by how much"]
    if not found.cells:
        lines.append("  Nothing yet.")
    else:
        lines += table(_COLUMNS, [_cells_of_row(cell) for cell in found.cells])
    for pair in found.pairs:
        lines += _wrapped(_pair_line(pair), "  - ")
        lines += _wrapped(_some_keys(pair.keys, 1), "    ")
    for (title, nothing), part in zip(_TITLES, _parts(found)):
        lines += ["", title]
        for number, finding in enumerate(part, 1):
            lines += _wrapped(f"{finding.kind}: {finding.statement}", f"  {number}. ")
            for detail in _details(finding):
                lines += _wrapped(detail, "     ")
            lines += _wrapped(_some_keys(finding.keys), "     ")
        if not part:
            lines.append(f"  {nothing}")
    return lines


def as_markdown(found: Analysis, link: Callable[[str], str]) -> str:
    """The analysis as a page.

    Args:
        found: The analysis.
        link: Gives the address of a run's folder, from the page, for its key.
    """
    lines = ["# Analysis of the experiments", "", _head(found), ""]
    lines += ["## What succeeded, and by how much", "", *_side_by_side(found)]
    lines += _markdown_scores(found, link)
    for (title, nothing), part in zip(_TITLES, _parts(found)):
        lines += ["", f"## {title}", ""]
        for kind in dict.fromkeys(finding.kind for finding in part):
            lines.append(f"- **{kind}**")
            for finding in (f for f in part if f.kind == kind):
                lines.append(f"  - {_escaped(finding.statement)} {_links(finding.keys, link)}")
                lines += [f"    - {_escaped(detail)}" for detail in _details(finding)]
        if not part:
            lines.append(nothing)
    return "\n".join(lines).rstrip() + "\n"


def _head(found: Analysis) -> str:
    states = ", ".join(f"{n} {state}" for state, n in found.states.items() if n)
    n = sum(found.states.values())
    text = f"{count(n, 'experiment')}: {states or 'none'}."
    if old := sum(run.superseded for run in found.runs):
        text += f" {count(old, 'record')} of earlier configurations left out."
    if again := found.recovered:
        text += f" {count(len(again), 'run')} failed before and then succeeded."
    return text + " Intervals are 95 %; p-values of comparisons are Holm's over this page."


def _parts(found: Analysis) -> tuple[Sequence[Finding], ...]:
    return found.failures, found.suspicions, found.next_runs


def _cells_of_row(cell: Cell) -> tuple[str, ...]:
    s = cell.score
    score = f"{100 * s['value']:.1f}"
    return cell.task, cell.name, score, interval(s), str(s["n"]), str(s["n_seeds"])


def _side_by_side(found: Analysis) -> list[str]:
    """All tasks in one table, if there are several."""
    if len({cell.task for cell in found.cells}) < 2:
        return []
    shown = {(p.b, p.task): -p.difference for p in found.pairs if p.significant}
    cells = {
        (c.name, c.task): score_cell(c.score, shown.get((c.name, c.task))) for c in found.cells
    }
    return [*score_matrix(cells, _reference(found)), ""]


def _reference(found: Analysis) -> str:
    """What each task's methods are compared with."""
    names = dict.fromkeys(pair.a for pair in found.pairs)
    return next(iter(names)) if len(names) == 1 else "the task's main bridge"


def _markdown_scores(found: Analysis, link: Callable[[str], str]) -> Iterator[str]:
    if not found.cells:
        yield "Nothing yet."
        return
    against = {(pair.task, pair.b): pair for pair in found.pairs}
    yield (
        "| task | method | score % | 95 % interval | n | seeds "
        f"| {_reference(found)} minus it, points | p (Holm) | runs |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for cell in found.cells:
        task, name, *rest = _cells_of_row(cell)
        pair = against.get((cell.task, cell.name))
        paired = (
            [difference_and_interval(pair.to_json()), p_value(pair.p_adjusted)]
            if pair
            else ["", ""]
        )
        row = [task, f"`{name}`", *rest, *paired, _links(cell.keys, link)]
        yield f"| {' | '.join(row)} |"
    yield ""


def _pair_line(pair: Pair) -> str:
    low, high = 100 * pair.ci_low, 100 * pair.ci_high
    return (
        f"{pair.task}: {pair.a} minus {pair.b} {100 * pair.difference:+.1f} points ({low:+.1f} to "
        f"{high:+.1f}), n {pair.n}, {p_equals(pair.p_adjusted)}"
        f"{'' if pair.significant else ', not shown'}."
    )


def _details(finding: Finding) -> Iterator[str]:
    yield from finding.details
    if finding.fix:
        yield f"Fix: {finding.fix.advice}"


def _some_keys(keys: Sequence[str], n: int = _SHOWN_KEYS) -> str:
    more = f" and {len(keys) - n} more (--json)" if len(keys) > n else ""
    return f"runs: {', '.join(keys[:n])}{more}"


def _links(keys: Sequence[str], link: Callable[[str], str]) -> str:
    return ", ".join(f"[{key}]({link(key)})" for key in keys)


def _escaped(text: str) -> str:
    return text.replace("<", "\\<").replace("*", "\\*").replace("|", "\\|")


def _wrapped(text: str, start: str = "") -> list[str]:
    inner = " " * len(start)
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=inner) or [start]


def relative_links(folder_of: Callable[[str], Path], page: Path) -> Callable[[str], str]:
    """Addresses of run folders as seen from a page, for `as_markdown`."""
    import os
    from urllib.parse import quote

    start = page.resolve().parent

    def link(key: str) -> str:
        return quote(Path(os.path.relpath(folder_of(key).resolve(), start)).as_posix())

    return link
