"""A table that is printed to a terminal or written as Markdown."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_MIN_WIDTH = 150


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        title: Heading.
        left: Align the cells left (words) rather than right (numbers).
        wraps: Break long cells on a narrow terminal; other columns are never broken.
        code: Set the cells in code font in Markdown.
    """

    title: str
    left: bool = False
    wraps: bool = False
    code: bool = False


@dataclass
class Table:
    """A table of text cells.

    Args:
        columns: The columns.
        title: Lines above the table in a terminal.
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
        kept = [i for i in range(len(self.columns)) if any(row[i] for row in self.rows)]
        rows = [[row[i] for i in kept] for row in self.rows]
        return Table([self.columns[i] for i in kept], self.title, list(rows))

    def print(self, console: Console) -> None:
        """Print the table to a terminal."""
        from rich import box
        from rich.markup import escape
        from rich.table import Table as RichTable

        table = RichTable(
            title=escape(self.title) or None,
            title_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        for column in self.columns:
            table.add_column(
                column.title,
                justify="left" if column.left else "right",
                no_wrap=not column.wraps,
                overflow="fold",
            )
        for row in self.rows:
            table.add_row(*map(escape, row))
        console.print(table)

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
    return Console(file=sys.stdout, highlight=False, width=max(console.width, _MIN_WIDTH))
