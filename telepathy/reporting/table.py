"""A table that is printed to a terminal or written as Markdown."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

_PIPE_WIDTH = 150
_MIN_WRAPPED = 18  # width of a column of words that a narrow terminal breaks
_GAP = 2


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        title: Heading.
        left: Align the cells left (words) rather than right (numbers).
        wraps: Break long cells on a narrow terminal; other columns are never broken.
        code: Set the cells in code font in Markdown.
        hide: Order of hiding on a narrow terminal: 1 first; 0 is never hidden.
    """

    title: str
    left: bool = False
    wraps: bool = False
    code: bool = False
    hide: int = 0


@dataclass
class Table:
    """A table of text cells.

    Args:
        columns: The columns.
        title: Line above the table in a terminal.
        rows: The cells of each row, one per column.
    """

    columns: Sequence[Column]
    title: str = ""
    rows: list[Sequence[str]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Add a row."""
        self.rows.append(cells)

    def without_empty_columns(self) -> Table:
        """The table without the columns in which every cell is empty."""
        return self._with([i for i in range(len(self.columns)) if any(row[i] for row in self.rows)])

    def print(self, console: Console) -> None:
        """Print the table to a terminal; a narrow one does not get the less important columns."""
        shown, hidden = self, []
        while shown._min_width() > console.width:
            ranks = [column.hide for column in shown.columns if column.hide]
            if not ranks:
                break
            first = next(i for i, c in enumerate(shown.columns) if c.hide == min(ranks))
            hidden.append(shown.columns[first].title)
            shown = shown._with([i for i in range(len(shown.columns)) if i != first])
        # Too wide even so: the terminal breaks lines, but no digit is cut off.
        console.print(shown._rendered(), width=max(console.width, shown._min_width()), crop=False)
        if hidden:
            print_wrapped(console, f"Hidden on this narrow terminal: {', '.join(hidden)}.")

    def _with(self, kept: Sequence[int]) -> Table:
        rows: list[Sequence[str]] = [[row[i] for i in kept] for row in self.rows]
        return Table([self.columns[i] for i in kept], self.title, rows)

    def _min_width(self) -> int:
        widths = [
            _MIN_WRAPPED if column.wraps else max(map(len, [column.title, *cells]))
            for column, *cells in zip(self.columns, *self.rows, strict=True)
        ]
        return sum(widths) + _GAP * (len(widths) - 1)

    def _rendered(self) -> RichTable:
        from rich import box
        from rich.markup import escape
        from rich.table import Table as RichTable

        table = RichTable(
            title=escape(self.title) or None,
            title_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, _GAP - 1, 0, 0),
            pad_edge=False,
            show_edge=False,
        )
        for column in self.columns:
            table.add_column(
                column.title,
                justify="left" if column.left else "right",
                no_wrap=not column.wraps,
                min_width=_MIN_WRAPPED if column.wraps else None,
            )
        for row in self.rows:
            table.add_row(*map(escape, row))
        return table

    def markdown(self) -> list[str]:
        """The lines of the table in Markdown, without its title."""
        lines = [
            _markdown_row([column.title for column in self.columns]),
            "|" + "|".join("---" if column.left else "---:" for column in self.columns) + "|",
        ]
        for row in self.rows:
            cells = [
                f"`{cell}`" if column.code and cell else cell.replace("|", "\\|")
                for column, cell in zip(self.columns, row, strict=True)
            ]
            lines.append(_markdown_row(cells))
        return lines


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def stdout_console() -> Console:
    """A console on stdout; in a pipe or a file it is wide enough for every table."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    if console.is_terminal:
        return console
    return Console(file=sys.stdout, highlight=False, width=max(console.width, _PIPE_WIDTH))


def print_wrapped(console: Console, line: str, indent: str = "") -> None:
    """Print a line of text; a terminal breaks it between words.

    Args:
        console: Where to print.
        line: The text.
        indent: Start of the lines after the first one.
    """
    if console.is_terminal:
        line = textwrap.fill(line, console.width, subsequent_indent=indent)
    console.print(line, markup=False, soft_wrap=True)
