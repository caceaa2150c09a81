"""Tables: aligned text, folded by rich only where a terminal is too narrow for it.

Laying out a table of n rows costs rich about a millisecond a row and its import more than a whole analysis of AlexNet, and what goes
down a pipe, or fits, needs no folding. No column is ever left out and no cell cut.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import click

from cnnc.cli.common import colourful, terminal_width

#: Folded text is never narrower than this.
_LEAST = 8


@dataclass(frozen=True, slots=True)
class Column:
    """A column; numbers stand at its ``right`` edge. What is in it may ``fold`` over several lines on a narrow terminal.

    ``close`` says that it belongs to the column before it, and stands close to that.
    """

    title: str
    right: bool = False
    fold: bool = False
    close: bool = False


@dataclass(slots=True)
class Row:
    """Cells, or a rule (no cells); ``style`` is "", "bold", "dim" or "red"."""

    cells: Sequence[str] = field(default=())
    style: str = ""


def print_table(columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Print a table on standard output."""
    widths = [_cells(c.title) for c in columns]
    for row in rows:
        for k, cell in enumerate(row.cells):
            size = _cells(cell)
            if size > widths[k]:
                widths[k] = size
    gaps = ["", *(" " if c.close else "  " for c in columns[1:])]
    natural = sum(widths) + sum(map(len, gaps))
    room = terminal_width(sys.stdout)
    if room is not None and natural > room:
        _folded(columns, rows, widths, room)
        return
    click.echo("\n".join(_aligned(columns, rows, widths, gaps, colour=colourful(sys.stdout))))


def _cells(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _aligned(columns: Sequence[Column], rows: Iterable[Row], widths: Sequence[int], gaps: Sequence[str], colour: bool) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        shown = []
        for column, width, gap, cell in zip(columns, widths, gaps, cells, strict=True):
            space = " " * (width - _cells(cell))
            shown.append(gap + space + cell if column.right else gap + cell + space)
        return "".join(shown).rstrip()

    rule = "─" * (sum(widths) + sum(map(len, gaps)))
    found = [_styled(line([c.title for c in columns]), "bold", colour), rule]
    found += [_styled(line(row.cells), row.style, colour) if row.cells else rule for row in rows]
    return found


def _styled(text: str, style: str, colour: bool) -> str:
    if not colour or not style:
        return text
    return click.style(text, bold=style == "bold" or None, dim=style == "dim" or None, fg="red" if style == "red" else None)


def _folded(columns: Sequence[Column], rows: Iterable[Row], widths: Sequence[int], room: int) -> None:
    """A table whose columns of text are folded, down to a least width; a terminal narrower than that wraps the lines itself."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    least = 0
    for column, width in zip(columns, widths, strict=True):
        low = min(width, _LEAST) if column.fold else width
        least += low + 1
        side: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(Text(column.title), justify=side, min_width=low, no_wrap=not column.fold, overflow="fold")
    for row in rows:
        if row.cells:
            table.add_row(*map(Text, row.cells), style=row.style)
        else:
            table.add_section()
    console = Console(highlight=False, color_system="auto" if colourful(sys.stdout) else None)
    console.width = max(room, least - 1)
    console.print(table, crop=False)


__all__ = ["Column", "Row", "print_table"]
