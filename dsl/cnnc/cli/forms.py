"""What the commands share that print the same facts in several forms: the option, Markdown tables, numbers with their sign."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

import click

from cnnc.cli.common import refuse
from cnnc.cli.table import Column, Row

_F = TypeVar("_F", bound=Callable[..., Any])

#: What Markdown would take for markup inside a cell.
_MARKUP = re.compile(r"([\\`*|<]|~(?=~)|(?<!\w)_|_(?!\w)|\](?=\())")


def format_option(*formats: str) -> Callable[[_F], _F]:
    """``--format``, the first of them unless told, with ``--json`` as a short way to say one; the argument is ``form``."""

    def decorate(command: _F) -> _F:
        @wraps(command)
        def chosen(*args: Any, form: str | None, as_json: bool, **kwargs: Any) -> Any:
            if as_json and form not in (None, "json"):
                refuse(f"--json and --format {form} exclude each other.")
            return command(*args, form="json" if as_json else form or formats[0], **kwargs)

        chosen = click.option("--json", "as_json", is_flag=True, help="The same as --format json.")(chosen)
        help = f"How to print: {formats[0]} unless told."
        return click.option("--format", "form", type=click.Choice(formats), help=help)(chosen)  # type: ignore[return-value]

    return decorate


def markdown(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """A table in Markdown; rules between rows are left out."""
    lines = [
        _line([escaped(c.title) for c in columns]),
        _line(["---:" if c.right else "---" for c in columns]),
        *(_line([escaped(cell) for cell in row.cells]) for row in rows if row.cells),
    ]
    return "\n".join(lines)


def escaped(text: str) -> str:
    """A text that Markdown shows as it is, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def signed(number: int | None) -> str:
    """A difference: ``+1,200``, ``-3``, nothing for none, ``?`` where it is not known."""
    return "?" if number is None else f"{number:+,}" if number else ""


def per_cent(change: int, of: int) -> str:
    """A change in per cent of what was there before: ``+86.5 %``; nothing where that is nothing, or of nothing."""
    return f"{100 * change / of:+.1f} %" if of and abs(100 * change / of) >= 0.05 else ""


def bytes_text(count: int) -> str:
    """A number of bytes as people say it, in powers of ten."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
