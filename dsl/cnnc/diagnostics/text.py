"""Diagnostics as text for people: the lines of the spec with the places underlined, then the facts and the way out.

Gives lines of styled pieces; what they are printed on is the caller's business. Text that comes from a spec never reaches a terminal
raw: what is not printable is shown as ``<U+001B>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from cnnc.diagnostics.model import Diagnostic, Edit, Label, Severity
from cnnc.source import Source, Span

if TYPE_CHECKING:
    from rich.text import Text

#: How many cells of a source line are shown when nobody says how wide the terminal is.
WIDTH = 120
#: Cells from one tab stop to the next.
TAB = 4
#: Fewer cells than this are never given to a source line.
_LEAST = 24

#: Pieces of a line, each with the name of its style: "", "strong", "gutter", "error", "warning", "also".
Line = list[tuple[str, str]]

_STYLES = {"strong": "bold", "gutter": "bright_blue", "error": "bold red", "warning": "bold yellow", "also": "bright_blue"}


def to_text(diagnostics: Sequence[Diagnostic], *, width: int = WIDTH, explain: bool = True) -> str:
    """All diagnostics and a last line that counts them, without colour. Empty when there are none.

    ``width`` is the room for a line of the spec: a longer one is cut around its labels. ``explain`` says whether to point at
    ``cnnc explain``.
    """
    return "".join("".join(text for text, _ in line).rstrip() + "\n" for line in _all(diagnostics, width, explain))


def to_rich(diagnostics: Sequence[Diagnostic], *, width: int = WIDTH, explain: bool = True) -> Text:
    """The same with colour."""
    from rich.text import Text

    text = Text(end="")
    for line in _all(diagnostics, width, explain):
        for style, pieces in groupby(line, key=lambda piece: piece[1]):
            text.append("".join(piece for piece, _ in pieces), _STYLES.get(style, ""))
        text.append("\n")
    return text


def summary(diagnostics: Iterable[Diagnostic]) -> str:
    """``2 errors, 1 warning``; empty when there is nothing to count."""
    counts = dict.fromkeys(Severity, 0)
    for diagnostic in diagnostics:
        counts[diagnostic.severity] += 1
    return ", ".join(f"{n:,} {severity.value}{'s' if n != 1 else ''}" for severity, n in counts.items() if n)


def visible(text: str) -> str:
    """A text on one line, with everything that is not printable spelt out."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _spelt(c) for c in text)


def layout(diagnostic: Diagnostic, *, width: int = WIDTH, explain: bool = True) -> list[Line]:
    """One diagnostic as lines of styled pieces."""
    severity = diagnostic.severity.value
    lines: list[Line] = [[(f"{severity}[{visible(diagnostic.code)}]", severity), (f": {visible(diagnostic.headline)}", "strong")]]
    sections = _sections(diagnostic)
    digits = max((len(str(mark.last)) for section in sections for mark in section.marks), default=1)
    for section in sections:
        lines += section.lines(digits, width, severity)
    facts = _facts(diagnostic, sections, explain)
    if facts and any(section.marks for section in sections):
        lines.append([(f" {' ' * digits} |", "gutter")])
    for word, text in facts:
        first, *rest = text.splitlines() or [""]
        lines.append([(f" {' ' * digits} = ", "gutter"), (f"{word}:".ljust(6), "strong"), (visible(first), "")])
        lines += [[(" " * (digits + 10) + visible(more), "")] for more in rest]
    return lines


def _all(diagnostics: Sequence[Diagnostic], width: int, explain: bool) -> Iterable[Line]:
    for diagnostic in diagnostics:
        yield from layout(diagnostic, width=width, explain=explain)
        yield []
    if diagnostics:
        worst = "error" if any(d.severity is Severity.ERROR for d in diagnostics) else "warning"
        yield [(summary(diagnostics), worst)]


def _spelt(char: str) -> str:
    return f"<U+{ord(char):04X}>"


# -------------------------------------------------------------------------------------------------------------- below the source


def _facts(diagnostic: Diagnostic, sections: list[_Section], explain: bool) -> list[tuple[str, str]]:
    """What stands behind ``=``, word and text."""
    found = [("note", label.text) for section in sections for label in section.unplaced if label.text]
    found += [("note", note) for note in diagnostic.notes]
    if diagnostic.help is not None:
        found.append(("help", diagnostic.help))
    for fix in diagnostic.fixes:
        title = f"{fix.title} ({'safe' if fix.safe else 'unsafe'})"
        found.append(("fix", "\n".join([title, *(_edit(e) for e in fix.edits)])))
    if explain:
        found.append(("see", f"cnnc explain {diagnostic.code}"))
    return found


def _edit(edit: Edit) -> str:
    at = f"{edit.span.source.name}:{edit.span.line}:{edit.span.column}: "
    old, new = visible(edit.span.text), visible(edit.text)
    if not old:
        return f"{at}insert `{new}`"
    return f"{at}replace `{old}` by `{new}`" if new else f"{at}delete `{old}`"


# -------------------------------------------------------------------------------------------------------------------- the source


@dataclass(eq=False)
class _Mark:
    """A label in its source: lines and characters from 1 and 0, the end excluded."""

    line: int
    start: int
    last: int
    end: int
    text: str
    main: bool
    #: the column at the left margin in which a mark of several lines runs
    track: int = -1

    @property
    def sign(self) -> str:
        return "^" if self.main else "-"


@dataclass(eq=False)
class _Section:
    """The labels of one file."""

    source: Source
    arrow: str
    marks: list[_Mark] = field(default_factory=list)
    #: labels of a file as a whole
    unplaced: list[Label] = field(default_factory=list)

    def lines(self, digits: int, width: int, severity: str) -> list[Line]:
        """``--> file:line:column`` and the lines of the source with their labels."""
        edge = (f" {' ' * digits} |", "gutter")
        place = visible(self.source.name)
        if self.marks:
            place += f":{self.marks[0].line}:{self.marks[0].start + 1}"
        arrow = (" " * (digits + 1) + self.arrow, "gutter")
        found: list[Line] = [[edge]] if self.arrow == "::: " else []
        found.append([arrow, (place, "")])
        if not self.marks:
            return found
        found.append([edge])
        tracks = sorted((m for m in self.marks if m.last > m.line), key=lambda m: (m.line - m.last, m.line))
        for k, mark in enumerate(tracks):
            mark.track = k
        wanted = sorted({n for m in self.marks for n in (m.line, m.last)})
        open_marks: set[int] = set()
        before = 0
        for number in wanted:
            if before and number - before == 2:
                found += self._row(number - 1, digits, width, severity, tracks, open_marks)
            elif before and number - before > 2:
                found.append([("...".ljust(digits + 4), "gutter"), *_margin(tracks, open_marks, severity)])
            found += self._row(number, digits, width, severity, tracks, open_marks)
            before = number
        return found

    def _row(self, number: int, digits: int, width: int, severity: str, tracks: list[_Mark], open_marks: set[int]) -> list[Line]:
        """A line of the source and the rows of labels below it."""
        here = [m for m in self.marks if number in (m.line, m.last)]
        cells, columns = _cells(self.source.line(number))
        places = {id(m): _columns(m, number, columns) for m in here}
        low, high = _window(len(cells), width, here, places)
        shown = cells[low:high]
        if shown and low:
            shown[0] = "…"
        if shown and high < len(cells):
            shown[-1] = "…"
        for key, (start, end) in places.items():
            start = min(max(start - low, 0), max(high - low - 1, 0)) if len(cells) > width else start
            end = max(min(end - low, high - low), start + 1) if len(cells) > width else end
            places[key] = (start, end)
        text = "".join(c if c or k else " " for k, c in enumerate(shown))
        found: list[Line] = [[(f" {number:>{digits}} |", "gutter"), (" ", ""), *_margin(tracks, open_marks, severity), (text.rstrip(), "")]]
        edge = (f" {' ' * digits} | ", "gutter")
        single = [(m, *places[id(m)]) for m in here if m.track < 0]
        for line in _labels(single, severity):
            found.append([edge, *_margin(tracks, open_marks, severity), *line])
        for mark in sorted((m for m in here if m.track >= 0), key=lambda m: (m.line == number, places[id(m)])):
            start, end = places[id(mark)]
            style = severity if mark.main else "also"
            opens = mark.line == number
            margin = _margin(tracks, open_marks | {mark.track}, severity, mark.track)
            if opens:
                margin[mark.track] = (" _", style)
            rule = "_" * (start if opens else max(end - 1, 0)) + mark.sign
            found.append([edge, *margin, (rule, style), (f" {mark.text}" if mark.text and not opens else "", style)])
            (open_marks.add if opens else open_marks.discard)(mark.track)
        return found


def _sections(diagnostic: Diagnostic) -> list[_Section]:
    """The labels by file: that of the main label first, then in the order of ``also``."""
    sections: dict[int, _Section] = {}
    seen: set[tuple[int, int, int, str]] = set()
    for label in (diagnostic.at, *diagnostic.also):
        span = label.span
        key = (id(span.source), span.start, span.end, label.text)
        if key in seen:
            continue
        seen.add(key)
        section = sections.get(id(span.source))
        if section is None:
            section = sections[id(span.source)] = _Section(span.source, "::: " if sections else "--> ")
        if not span.source.text or (span.start == span.end == 0 and not label.text):
            section.unplaced.append(label)
        else:
            section.marks.append(_mark(span, visible(label.text), label is diagnostic.at))
    return list(sections.values())


def _mark(span: Span, text: str, main: bool) -> _Mark:
    source = span.source
    start = min(span.start, len(source.text))
    end = max(start, min(span.end, len(source.text)))
    end = start + len(source.text[start:end].rstrip()) or start
    line, column = source.position(start)
    last, end_column = source.position(end)
    return _Mark(line, column - 1, last, end_column - 1, text, main)


def _columns(mark: _Mark, number: int, columns: Sequence[int]) -> tuple[int, int]:
    """The cells that a mark covers of line ``number``, at least one."""
    top = len(columns) - 1
    start = columns[min(mark.start, top)] if mark.line == number else 0
    end = columns[min(mark.end, top)] if mark.last == number else columns[top]
    return start, max(end, start + 1)


def _cells(line: str) -> tuple[list[str], Sequence[int]]:
    """What each cell of a terminal shows of a line (the second cell of a wide character shows ""), and each character's cell."""
    if line.isascii() and line.isprintable():
        return list(line), range(len(line) + 1)
    from rich.cells import get_character_cell_size

    cells: list[str] = []
    columns: list[int] = []
    for char in line:
        columns.append(len(cells))
        if char == "\t":
            cells += " " * (TAB - len(cells) % TAB)
        elif not char.isprintable():
            cells += _spelt(char)
        else:
            size = 1 if char.isascii() else get_character_cell_size(char)
            if size == 0 and cells:
                cells[-1] += char
            else:
                cells += [char, *[""] * (size - 1)]
    columns.append(len(cells))
    return cells, columns


def _window(length: int, width: int, here: list[_Mark], places: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """The part of a long line that is shown: around the main label if it is there, else around the first."""
    width = max(width, _LEAST)
    if length <= width:
        return 0, length
    focus = min(here, key=lambda m: (not m.main, places[id(m)]), default=None)
    if focus is None:
        return 0, width
    start, end = places[id(focus)]
    spare = max(width - (end - start), 8)
    low = max(0, min(start - spare // 2, length - width))
    return low, low + width


def _margin(tracks: list[_Mark], open_marks: set[int], severity: str, up_to: int | None = None) -> Line:
    """The left margin with a bar for each open mark of several lines; from ``up_to`` on, the line that leads to its end."""
    found: Line = []
    for mark in tracks:
        style = severity if mark.main else "also"
        if up_to is not None and mark.track > up_to:
            found.append(("__", severity if tracks[up_to].main else "also"))
        elif up_to is not None and mark.track == up_to:
            found.append(("|_", style))
        else:
            found.append(("| " if mark.track in open_marks else "  ", style))
    return found


def _labels(marks: list[tuple[_Mark, int, int]], severity: str) -> list[Line]:
    """The rows below a line of the source: the underlines, the words of the last label behind them, those of others hanging."""
    if not marks:
        return []
    canvas: list[tuple[str, str]] = [(" ", "")] * max(end for _, _, end in marks)
    for mark, start, end in sorted(marks, key=lambda m: (m[1] - m[2], m[0].main)):
        for k in range(start, end):
            canvas[k] = (mark.sign, severity if mark.main else "also")
    inline = max((m for m in marks if m[0].text), key=lambda m: (m[2], m[1], m[0].main), default=None)
    if inline is not None and inline[2] < len(canvas):
        inline = None
    first: Line = list(canvas)
    if inline is not None:
        first.append((f" {inline[0].text}", severity if inline[0].main else "also"))
    rows = [first]
    hanging = sorted((m for m in marks if m[0].text and m is not inline), key=lambda m: m[1])
    if hanging:
        rows.append(_bars(hanging, severity))
    while hanging:
        mark, start, _ = hanging.pop()
        row = _bars([m for m in hanging if m[1] < start], severity)
        style = severity if mark.main else "also"
        rows.append([*row, (" " * (start - len(row)), ""), (mark.text, style)])
    return rows


def _bars(marks: list[tuple[_Mark, int, int]], severity: str) -> Line:
    row: Line = []
    for mark, start, _ in marks:
        if start >= len(row):
            row += [(" ", "")] * (start - len(row))
            row.append(("|", severity if mark.main else "also"))
    return row


__all__ = ["TAB", "WIDTH", "Line", "layout", "summary", "to_rich", "to_text", "visible"]
