"""After a syntax error: where the text is taken up again, so that one run shows more than the first.

The parser throws away what it has of the statement at hand, takes a token that stands for it, and goes on at the statement's end. A
statement ends where it would have ended without the mistake: at its newline or ``;``, bodies in braces skipped, or before the ``}`` of the
body around. Outside of bodies the text is taken up at the next line that starts a definition.
"""

from __future__ import annotations

import re
from typing import Any

from lark import Token, Tree
from lark.exceptions import UnexpectedInput, UnexpectedToken

from cnnc.diagnostics.model import Diagnostic
from cnnc.source import Source
from cnnc.syntax import mistakes
from cnnc.syntax.tokens import LineEnds

#: How many syntax errors of one file are shown.
MAX_ERRORS = 20

_PIECE = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"?|#[^\n]*|[\n;(){}\[\]]')
#: a line that starts a definition, and so stands outside of all bodies
_DEFINITION = re.compile(r"^(?:network|block|from|let|train)\b", re.MULTILINE)
_SURE = re.compile(r"(?:network|block)[ \t]+[A-Za-z_]\w*[ \t]*[({=]|from[ \t]+[\w.\"]+.*\bimport\b")


#: a word at the start of a line that starts a statement, with what follows it up to the next word
_STATEMENT = re.compile(r"[ \t]*(?:let|input|output|head|module|default|expect|for|repeat)[ \t]+")


class Recovery:
    """What is done about the syntax errors of one text; :meth:`handle` is lark's ``on_error``."""

    def __init__(self, source: Source, ends: LineEnds) -> None:
        self.source = source
        self.text = source.text
        self.ends = ends
        self.problems: list[Diagnostic] = []
        self._last = -1
        self._closed = False

    def handle(self, error: UnexpectedInput) -> bool:
        """Keep the problem and bring the parser to a place from which it can go on; False gives up."""
        at, _ = mistakes.place(self.source, error)
        if isinstance(error, UnexpectedToken):
            self.ends.undo(error.token)
        braces = [t for t in self.ends.open if t == "{"]
        # A string that is not closed swallows the bracket behind it.
        inner = self._brackets() if self.text[at : at + 1] != '"' else []
        if _at_end(error):
            return self._at_end(error, braces)
        if at <= self._last:
            self._resume(error, self._skip(self._last + 1, 0), self._last)
            return True
        self._last = at
        if len(self.problems) >= MAX_ERRORS:
            return False
        missing = self._missing_brace(at, braces[-1]) if braces else None
        early = self._early(at)
        unclosed = self._unclosed(inner, at) if inner else None
        if missing is not None:
            self.problems.append(mistakes.not_closed(self.source, braces[-1], missing))
            self._close(error, len(braces), missing)
        elif unclosed is not None:
            self.problems.append(mistakes.not_closed(self.source, inner[-1], at))
            self._resume(error, unclosed, at)
        elif early is not None:
            self.problems.append(mistakes.early(self.source, early))
            self._resume(error, early - 1, at)
        else:
            self.problems.append(mistakes.describe(self.source, error, self.ends.open))
            self._resume(error, self._skip(at, len(inner)) if braces else self._next_definition(at), at)
        return True

    def _at_end(self, error: UnexpectedInput, braces: list[Token]) -> bool:
        """The text ends too early: every body that is open ends here."""
        if self._closed:
            return False
        self._closed = True
        self.problems.append(mistakes.describe(self.source, error, self.ends.open))
        self._close(error, len(braces), len(self.text))
        return True

    # --- where to go on

    def _brackets(self) -> list[Token]:
        """The round and square brackets that are open inside the innermost braces."""
        stack = self.ends.open
        last = max((k for k, t in enumerate(stack) if t == "{"), default=-1)
        return stack[last + 1 :]

    def _skip(self, at: int, depth: int) -> int:
        """The end of the statement around ``at``, with ``depth`` round or square brackets open."""
        braces = 0
        for piece in _PIECE.finditer(self.text, at):
            sign = piece.group()
            if sign in "([":
                depth += 1
            elif sign in ")]":
                depth = max(depth - 1, 0)
            elif sign == "{":
                braces += 1
            elif sign == "}":
                if not braces:
                    return piece.start()
                braces -= 1
            elif (sign in "\n;" and not braces and depth <= 0) or (sign == "\n" and _SURE.match(self.text, piece.end())):
                return piece.start()
        return len(self.text)

    def _unclosed(self, inner: list[Token], at: int) -> int | None:
        """Where the line of a bracket ends that is not closed before its body is; None when it is closed."""
        depth = len(inner)
        for piece in _PIECE.finditer(self.text, at):
            sign = piece.group()
            if sign in "([":
                depth += 1
            elif sign in ")]":
                depth -= 1
                if depth <= 0:
                    return None
            elif sign in "{}":
                break
        start = inner[0].start_pos or 0
        line = self.text.find("\n", start)
        return line if line >= 0 else len(self.text)

    def _missing_brace(self, at: int, opened: Token) -> int | None:
        """The start of a definition that stands where a statement should, because a ``}`` is missing above."""
        line = self.text.rfind("\n", 0, at) + 1
        found = _SURE.match(self.text, line)
        return line if found is not None and at <= found.end() and (opened.start_pos or 0) < line else None

    def _early(self, at: int) -> int | None:
        """The start of a line whose first word starts a statement, though the one before is not finished."""
        line = self.text.rfind("\n", 0, at) + 1
        found = _STATEMENT.match(self.text, line)
        return line if found is not None and line and found.end() == at else None

    def _next_definition(self, at: int) -> int:
        """The newline before the next line that starts a definition."""
        found = _DEFINITION.search(self.text, at + 1)
        return max(found.start() - 1, 0) if found is not None else len(self.text)

    # --- the parser's stack

    def _resume(self, error: UnexpectedInput, offset: int, at: int) -> None:
        """Go on at ``offset``, with a token for the statement that ``at`` stands in."""
        self._broken(error, offset, at)
        stack = self.ends.open
        while stack and stack[-1] != "{":
            stack.pop()
        self._move(error, offset)

    def _close(self, error: UnexpectedInput, braces: int, offset: int) -> None:
        """Close every open body, as if its braces stood before ``offset``."""
        self._broken(error, offset, offset)
        parser: Any = error.interactive_parser
        for _ in range(braces):
            parser.feed_token(Token("RBRACE", "}", start_pos=offset, end_pos=offset))
        self.ends.open.clear()
        if offset < len(self.text):
            parser.feed_token(Token("SEP", "\n", start_pos=offset, end_pos=offset))
        self._move(error, offset)

    def _broken(self, error: UnexpectedInput, end: int, at: int) -> None:
        """Take what the parser has of the statement at hand away, and a token that stands for it instead."""
        parser: Any = error.interactive_parser
        state = parser.parser_state
        start = at
        while "BROKEN" not in parser.choices():
            value = state.value_stack[-1]
            if isinstance(value, Tree) and value.data in ("_stmts", "_items"):
                parser.feed_token(Token("SEP", "\n", start_pos=at, end_pos=at))
                continue
            state.value_stack.pop()
            state.state_stack.pop()
            start = _start_of(value, start)
        parser.feed_token(Token("BROKEN", "", start_pos=start, end_pos=max(end, start)))

    def _move(self, error: UnexpectedInput, offset: int) -> None:
        self.ends.ended = False
        parser: Any = error.interactive_parser
        parser.lexer_thread.state.line_ctr.char_pos = offset


def _at_end(error: UnexpectedInput) -> bool:
    return isinstance(error, UnexpectedToken) and error.token.type == "$END"


def _start_of(value: Any, otherwise: int) -> int:
    """The start of what stands on the parser's stack."""
    if isinstance(value, Token):
        return value.start_pos if value.start_pos is not None else otherwise
    if isinstance(value, Tree):
        return next((_start_of(c, otherwise) for c in value.children if c is not None), otherwise)
    start = getattr(value, "start", None)
    if isinstance(start, int):
        return start
    span = getattr(value, "span", None)
    return span.start if span is not None else otherwise
