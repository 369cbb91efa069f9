"""A table of text cells, printed to a terminal or written as Markdown."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

_GAP = "  "
_MIN_WRAPPED = 18  # smallest width of a column whose cells are wrapped


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        title: Heading.
        left: Align the cells left (words) rather than right (numbers).
        wraps: Wrap long cells on a narrow terminal; cells of other columns stay on one line.
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
        return self._only([i for i in range(len(self.columns)) if any(row[i] for row in self.rows)])

    def print(self) -> None:
        """Print the table; a narrow terminal hides its less important columns."""
        print("\n".join(self.lines(terminal_width())))

    def lines(self, width: int | None) -> list[str]:
        """The lines of the table for a terminal.

        Args:
            width: Width of the terminal in characters; None for a pipe or a file.
        """
        shown, hidden = self._fitting(width)
        widths = shown._widths(width)
        lines = [shown.title] if shown.title else []
        lines += [shown._line([c.title for c in shown.columns], widths)]
        lines += ["─" * (sum(widths) + len(_GAP) * (len(widths) - 1))]
        for row in shown.rows:
            wrapped = [wrap(cell, w) for cell, w in zip(row, widths, strict=True)]
            lines += [shown._line(part, widths) for part in zip_longest(*wrapped, fillvalue="")]
        if hidden:
            lines += wrap(f"Hidden on this narrow terminal: {', '.join(hidden)}.", width)
        return lines

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

    def _only(self, kept: Sequence[int]) -> Table:
        rows: list[Sequence[str]] = [[row[i] for i in kept] for row in self.rows]
        return Table([self.columns[i] for i in kept], self.title, rows)

    def _fitting(self, width: int | None) -> tuple[Table, list[str]]:
        """The table with as many columns as fit, and the titles of the hidden ones."""
        shown, hidden = self, list[str]()
        while width is not None and shown._min_width() > width:
            ranks = [column.hide for column in shown.columns if column.hide]
            if not ranks:
                break  # still too wide: the terminal wraps the lines, so no digit is lost
            first = next(i for i, c in enumerate(shown.columns) if c.hide == min(ranks))
            hidden.append(shown.columns[first].title)
            shown = shown._only([i for i in range(len(shown.columns)) if i != first])
        return shown, hidden

    def _natural_widths(self) -> list[int]:
        cells_of = zip([column.title for column in self.columns], *self.rows, strict=True)
        return [max(map(len, cells)) for cells in cells_of]

    def _min_width(self) -> int:
        widths = [
            min(natural, _MIN_WRAPPED) if column.wraps else natural
            for column, natural in zip(self.columns, self._natural_widths(), strict=True)
        ]
        return sum(widths) + len(_GAP) * (len(widths) - 1)

    def _widths(self, width: int | None) -> list[int]:
        """Width of each column; columns that wrap share the space that the others leave."""
        widths = self._natural_widths()
        if width is None:
            return widths
        excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
        wrapping = [i for i, column in enumerate(self.columns) if column.wraps]
        while excess > 0 and wrapping:
            widest = max(wrapping, key=lambda i: widths[i])
            if widths[widest] <= _MIN_WRAPPED:
                break
            widths[widest] -= 1
            excess -= 1
        return widths

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        padded = [
            cell.ljust(width) if column.left else cell.rjust(width)
            for column, cell, width in zip(self.columns, cells, widths, strict=True)
        ]
        return _GAP.join(padded).rstrip()


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def terminal_width() -> int | None:
    """Width of the terminal on stdout; None for a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def wrap(line: str, width: int | None, indent: str = "") -> list[str]:
    """Wrap a line of text between words.

    Args:
        line: The text.
        width: Width in characters; None does not wrap.
        indent: Start of the lines after the first one.
    """
    if width is None or len(line) <= width:
        return [line]
    return textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False) or [""]


def print_wrapped(line: str, indent: str = "") -> None:
    """Print a line of text, wrapped between words on a terminal."""
    print("\n".join(wrap(line, terminal_width(), indent)))
