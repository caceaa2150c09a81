"""Text to tree. Nothing outside this package knows lark.

The grammar is ``grammars/cnn.lark``; its tables are kept in the user's cache folder, since building them costs more than most parses.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from lark import Lark
from lark.exceptions import UnexpectedInput

from cnnc.diagnostics.model import Diagnostic, Label
from cnnc.resources import cache_dir, grammar_path
from cnnc.source import Source, Span
from cnnc.syntax import ast, mistakes
from cnnc.syntax.recovery import Recovery
from cnnc.syntax.tokens import MAX_NESTING, LineEnds, TooDeep
from cnnc.syntax.tree import Builder

#: The newest edition of the language that this compiler knows.
EDITION = 1

_COMMENTS = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"|(#[^\n]*)')


@dataclass(frozen=True, slots=True)
class Parsed:
    """What parsing gives: a tree as far as it could be built, and the problems."""

    file: ast.File
    problems: tuple[Diagnostic, ...]


class _Machine(NamedTuple):
    """The parser with its parts. Made once: the tables are shared, and the builder's source is swapped for each text."""

    lark: Lark
    builder: Builder
    ends: LineEnds


_machines: list[_Machine] = []


def _machine() -> _Machine:
    if _machines:
        return _machines[0]
    builder, ends = Builder(Source("", "")), LineEnds()
    options: dict[str, Any] = {
        "parser": "lalr",
        "lexer": "contextual",
        "keep_all_tokens": True,
        "maybe_placeholders": True,
        "transformer": builder,
        "postlex": ends,
    }
    grammar = grammar_path().read_text(encoding="utf-8")
    folder = cache_dir()
    lark = None
    if folder is not None:
        with suppress(OSError):  # a cache that cannot be written is no reason not to parse
            lark = Lark(grammar, cache=str(folder / "grammar.lark-cache"), **options)
    _machines.append(_Machine(lark or Lark(grammar, **options), builder, ends))
    return _machines[0]


def parse(source: Source) -> Parsed:
    """The tree of a text, and its syntax errors. Never raises for what a text may hold."""
    file, problems = _run(source)
    comments = tuple(
        ast.Comment(m.group(1), Span(source, m.start(1), m.end(1))) for m in _COMMENTS.finditer(source.text) if m.group(1) is not None
    )
    file = ast.File(source, file.edition, file.edition_span, file.items, comments)
    if file.edition is not None and file.edition_span is not None and not 1 <= file.edition <= EDITION:
        at = Label(file.edition_span, "newer than this compiler" if file.edition > EDITION else "the first edition is 1")
        headline = f"this file is written in edition {file.edition} of the language, but this compiler knows edition {EDITION}"
        help = "update cnnc, or write the file in edition 1" if file.edition > EDITION else "write `cnn 1`"
        problems = [Diagnostic("E104", headline, at, help=help)]
        if file.edition > EDITION:
            file = ast.File(source, file.edition, file.edition_span, (), comments)  # its words may mean something else
    return Parsed(file, tuple(problems))


def _run(source: Source) -> tuple[ast.File, list[Diagnostic]]:
    """The tree without comments, and the problems in the order of the text."""
    machine = _machine()
    builder, ends = machine.builder, machine.ends
    before = builder.source, builder.problems
    builder.source, builder.problems = source, []
    ends.reset()
    recovery = Recovery(source, ends)
    problems = recovery.problems
    try:
        tree: ast.File = machine.lark.parse(source.text, on_error=recovery.handle)  # type: ignore[assignment]
    except UnexpectedInput:
        tree = ast.File(source, None, None, ())
    except TooDeep as error:
        tree = ast.File(source, None, None, ())
        problems.append(mistakes.too_deep(source, error.token, MAX_NESTING))
    except RecursionError:
        tree = ast.File(source, None, None, ())
        problems.append(Diagnostic("E601", "the file nests too deeply", Label(Span(source, 0, 0))))
    finally:
        problems.extend(builder.problems)
        builder.source, builder.problems = before
    problems.sort(key=lambda p: p.at.span.start)
    return tree, problems
