"""Format the analysis of experiments as text of 80 columns or as a Markdown page with links."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from telepathy.experiments.analysis import Analysis
from telepathy.experiments.analysis.comparisons import PairedTest
from telepathy.experiments.analysis.findings import Finding
from telepathy.experiments.analysis.results import PooledResult
from telepathy.reporting.numbers import (
    count,
    difference_and_interval,
    interval,
    p_equals,
    p_value,
)
from telepathy.reporting.results import score_cell, score_matrix
from telepathy.reporting.table import Column, Table
from telepathy.reporting.text import WIDTH

_MAX_KEYS = 4
_COLUMNS = (
    Column("task", left=True, wraps=True),
    Column("method", left=True, wraps=True, code=True),
    *(Column(title) for title in ("score %", "95 % interval", "n", "seeds")),
)
_TITLES = (
    ("Failures by cause", "No failures."),
    ("Suspicious results", "None."),
    ("What to run next", "No suggestions."),
)


def as_text(found: Analysis) -> list[str]:
    """Lines of text for a terminal."""
    lines = [*_wrapped(_summary(found)), "", "Results"]
    if found.results:
        lines += Table(_COLUMNS, rows=[_score_row(r) for r in found.results]).lines(WIDTH)
    else:
        lines.append("  No results yet.")
    for test in found.tests:
        lines += _wrapped(_test_sentence(test), "  - ")
        lines += _wrapped(_first_keys(test.keys, 1), "    ")
    for (title, none), findings in zip(_TITLES, _sections(found)):
        lines += ["", title]
        for number, finding in enumerate(findings, 1):
            lines += _wrapped(f"{finding.kind}: {finding.statement}", f"  {number}. ")
            for detail in _details(finding):
                lines += _wrapped(detail, "     ")
            lines += _wrapped(_first_keys(finding.keys), "     ")
        if not findings:
            lines.append(f"  {none}")
    return lines


def as_markdown(found: Analysis, link: Callable[[str], str]) -> str:
    """A Markdown page.

    Args:
        found: The analysis.
        link: Returns the address of a run folder for the key of the run.
    """
    lines = ["# Analysis of the experiments", "", _summary(found), "", "## Results", ""]
    lines += _side_by_side(found)
    lines += _score_table(found, link)
    for (title, none), findings in zip(_TITLES, _sections(found)):
        lines += ["", f"## {title}", ""]
        for kind in dict.fromkeys(finding.kind for finding in findings):
            lines.append(f"- **{kind}**")
            for finding in (f for f in findings if f.kind == kind):
                lines.append(f"  - {_escaped(finding.statement)} {_links(finding.keys, link)}")
                lines += [f"    - {_escaped(detail)}" for detail in _details(finding)]
        if not findings:
            lines.append(none)
    return "\n".join(lines).rstrip() + "\n"


def relative_links(folder_of: Callable[[str], Path], page: Path) -> Callable[[str], str]:
    """Return a function that gives the address of a run folder relative to a page."""
    start = page.resolve().parent

    def link(key: str) -> str:
        return quote(Path(os.path.relpath(folder_of(key).resolve(), start)).as_posix())

    return link


def _summary(found: Analysis) -> str:
    states = ", ".join(f"{n} {state}" for state, n in found.states.items() if n)
    text = f"{count(sum(found.states.values()), 'experiment')}: {states or 'none'}."
    if old := sum(run.superseded for run in found.runs):
        text += f" {count(old, 'record')} of earlier configurations excluded."
    if again := found.recovered:
        text += f" {count(len(again), 'run')} failed first and then completed."
    return text + " Intervals are 95 %; p-values of comparisons are Holm-corrected."


def _sections(found: Analysis) -> tuple[Sequence[Finding], ...]:
    return found.failures, found.suspicions, found.next_runs


def _score_row(result: PooledResult) -> Sequence[str]:
    s = result.score
    score = f"{100 * s['value']:.1f}"
    return result.task, result.name, score, interval(s), str(s["n"]), str(s["n_seeds"])


def _side_by_side(found: Analysis) -> list[str]:
    """Table with one column per task, if there are several."""
    if len({result.task for result in found.results}) < 2:
        return []
    gains = {(t.b, t.task): -t.difference for t in found.tests if t.significant}
    cells = {
        (r.name, r.task): score_cell(r.score, gains.get((r.name, r.task))) for r in found.results
    }
    return [*score_matrix(cells, _reference(found)), ""]


def _reference(found: Analysis) -> str:
    """Name of the result that the others are compared with."""
    names = dict.fromkeys(test.a for test in found.tests)
    return next(iter(names)) if len(names) == 1 else "the main bridge"


def _score_table(found: Analysis, link: Callable[[str], str]) -> list[str]:
    if not found.results:
        return ["No results yet."]
    tests = {(test.task, test.b): test for test in found.tests}
    scores = Table(
        [
            *_COLUMNS,
            *(Column(title) for title in (f"{_reference(found)} minus it", "p (Holm)")),
            Column("runs", left=True),
        ]
    )
    for result in found.results:
        compared = ["", ""]
        if test := tests.get((result.task, result.name)):
            compared = [difference_and_interval(test.to_json()), p_value(test.p_adjusted)]
        scores.add(*_score_row(result), *compared, _links(result.keys, link))
    return scores.markdown()


def _test_sentence(test: PairedTest) -> str:
    low, high = 100 * test.ci_low, 100 * test.ci_high
    return (
        f"{test.task}: {test.a} minus {test.b} {100 * test.difference:+.1f} points ({low:+.1f} to "
        f"{high:+.1f}), n {test.n}, {p_equals(test.p_adjusted)}"
        f"{'' if test.significant else ', not significant'}."
    )


def _details(finding: Finding) -> Iterator[str]:
    yield from finding.details
    if finding.fix:
        yield f"Fix: {finding.fix.advice}"


def _first_keys(keys: Sequence[str], n: int = _MAX_KEYS) -> str:
    more = f" and {len(keys) - n} more (--json)" if len(keys) > n else ""
    return f"runs: {', '.join(keys[:n])}{more}"


def _links(keys: Sequence[str], link: Callable[[str], str]) -> str:
    return ", ".join(f"[{key}]({link(key)})" for key in keys)


def _escaped(text: str) -> str:
    return text.replace("<", "\\<").replace("*", "\\*").replace("|", "\\|")


def _wrapped(text: str, start: str = "") -> list[str]:
    inner = " " * len(start)
    return textwrap.wrap(
        text, WIDTH, initial_indent=start, subsequent_indent=inner, break_on_hyphens=False
    ) or [start]
