"""Where statements end: newlines and semicolons become SEP, or nothing where they end nothing."""

from __future__ import annotations

from collections.abc import Iterator

from lark import Token

#: How many brackets may stand inside each other.
MAX_NESTING = 100


class TooDeep(Exception):
    """More brackets stand inside each other than is allowed; ``token`` is the one too many."""

    def __init__(self, token: Token) -> None:
        super().__init__(str(token))
        self.token = token


class LineEnds:
    """Makes statement ends of newlines and semicolons, where they are ends.

    ``open`` holds the brackets that are open. It outlives a stream of tokens, because after a syntax error the parser goes on with a
    new one; ``ended`` says whether what came last was a statement's end.
    """

    always_accept = ("NL", "SEMI")
    #: after these a newline ends nothing
    _OPEN = frozenset("LBRACE LPAR LSQB COMMA EQUAL COLON PLUS MINUS STAR SLASH PERCENT SEP AND OR NOT -> ** // == != <= >= < > ..".split())
    _OPENERS = frozenset("([{")
    _CLOSERS = {")": "(", "]": "[", "}": "{"}

    def __init__(self) -> None:
        self.open: list[Token] = []
        self.ended = True
        self._closed: tuple[Token, Token] | None = None

    def reset(self) -> None:
        """Start a new text."""
        self.open.clear()
        self.ended = True
        self._closed = None

    def undo(self, token: Token) -> None:
        """Forget the last bracket, which the parser does not take."""
        if self.open and self.open[-1] is token:
            self.open.pop()
        elif self._closed is not None and self._closed[0] is token:
            self.open.append(self._closed[1])

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        """The tokens of a text, with SEP between statements."""
        stack = self.open
        ended = self.ended
        held = self._OPEN
        closers = self._CLOSERS
        for token in stream:
            kind = token.type
            if kind in ("NL", "SEMI"):
                if not ended and not (stack and stack[-1] != "{"):
                    ended = True
                    yield Token.new_borrow_pos("SEP", token.value, token)
                continue
            value = token.value
            if value in self._OPENERS:
                if len(stack) >= MAX_NESTING:
                    raise TooDeep(token)
                stack.append(token)
            elif value in closers and stack and stack[-1] == closers[value]:
                self._closed = token, stack.pop()
            ended = kind in held or value in held
            yield token
