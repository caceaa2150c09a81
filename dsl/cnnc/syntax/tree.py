"""Grammar rules to tree nodes: each method has the name of a rule, and gets its children."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from lark import Token, Transformer

from cnnc.diagnostics.model import Diagnostic, Label
from cnnc.source import Source, Span
from cnnc.syntax import ast
from cnnc.syntax.ast import MAX_INTEGER

_SUFFIX = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class _Part(NamedTuple):
    """A piece of tree that is no node of its own, with its place."""

    value: Any
    start: int
    end: int


class Builder(Transformer[Token, Any]):
    """Rule by rule, the tree. Every token is kept, so each child is a token, a part or a node with a span.

    ``source`` is the text at hand, ``problems`` what is wrong with single tokens of it.
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self.problems: list[Diagnostic] = []

    # --- places

    def _span(self, children: list[Any]) -> Span:
        start = end = -1
        for child in children:
            if child is not None:
                start = _start(child)
                break
        for child in reversed(children):
            if child is not None:
                end = _end(child)
                break
        return Span(self.source, start, end)

    def _place(self, token: Token) -> Span:
        return Span(self.source, token.start_pos or 0, token.end_pos or 0)

    def _part(self, value: Any, children: list[Any]) -> _Part:
        span = self._span(children)
        return _Part(value, span.start, span.end)

    # --- file

    def start(self, c: list[Any]) -> Any:
        edition, span = None, None
        if c and isinstance(c[0], _Part):
            edition, span = c[0].value, self._span(c[:1])
        return ast.File(self.source, edition, span, tuple(i for i in c if i is not None and not isinstance(i, Token | _Part)))

    def edition(self, c: list[Any]) -> Any:
        value = self._integer(c[1])
        return _Part(value, _start(c[0]), _end(c[1]))

    def network(self, c: list[Any]) -> Any:
        return ast.Network(str(c[1]), c[2].value if c[2] else (), c[3], self._span(c), self._place(c[1]))

    def variant(self, c: list[Any]) -> Any:
        return ast.Variant(str(c[1]), str(c[3]), c[4].value if c[4] else (), self._span(c), self._place(c[1]), self._place(c[3]))

    def block(self, c: list[Any]) -> Any:
        return ast.Block(str(c[1]), c[2].value if c[2] else (), c[3], self._span(c), self._place(c[1]))

    def import_(self, c: list[Any]) -> Any:
        names = tuple(p.value for p in c[3:] if isinstance(p, _Part))
        dotted = isinstance(c[1], _Part)
        module = c[1].value if dotted else _unquote(c[1])
        return ast.Import(module, dotted, names, self._span(c), Span(self.source, _start(c[1]), _end(c[1])))

    def imported(self, c: list[Any]) -> Any:
        name, alias = c[0], c[2] if c[2] is not None else c[0]
        return self._part((str(name), str(alias), self._place(name)), c)

    def dotted(self, c: list[Any]) -> Any:
        return self._part("".join(c), c)

    def params(self, c: list[Any]) -> Any:
        return self._part(tuple(p for p in c if isinstance(p, ast.Param)), c)

    def param(self, c: list[Any]) -> Any:
        return ast.Param(str(c[0]), c[2], self._span(c))

    def args(self, c: list[Any]) -> Any:
        return self._part(tuple(a for a in c if isinstance(a, ast.Arg)), c)

    def keyword_arg(self, c: list[Any]) -> Any:
        return ast.Arg(str(c[0]), c[2], self._span(c))

    def positional_arg(self, c: list[Any]) -> Any:
        return ast.Arg(None, c[0], c[0].span)

    # --- statements

    def body(self, c: list[Any]) -> Any:
        return ast.Body(tuple(s for s in c if s is not None and not isinstance(s, Token)), self._span(c))

    def flow(self, c: list[Any]) -> Any:
        return ast.Flow(c[0].value, (), None, self._span(c))

    def bind(self, c: list[Any]) -> Any:
        return ast.Flow(c[-1].value, (c[0],), c[2], self._span(c))

    def bind_many(self, c: list[Any]) -> Any:
        return ast.Flow(c[-1].value, tuple(t for t in c[:-1] if isinstance(t, ast.Target)), None, self._span(c))

    def input(self, c: list[Any]) -> Any:
        return ast.Input(str(c[1]), c[3], self._span(c), self._place(c[1]))

    def output(self, c: list[Any]) -> Any:
        stages = c[-1].value if isinstance(c[-1], _Part) else None
        return ast.Output(str(c[1]), c[3], stages, self._span(c), self._place(c[1]))

    def head(self, c: list[Any]) -> Any:
        return ast.Head(str(c[1]), c[2].value if c[2] else (), c[3], self._span(c), self._place(c[1]))

    def let(self, c: list[Any]) -> Any:
        return ast.Let(str(c[1]), c[3], self._span(c), self._place(c[1]))

    def module(self, c: list[Any]) -> Any:
        return ast.Module(str(c[1]), c[3], c[4].value if c[4] else (), self._span(c), self._place(c[1]))

    def default(self, c: list[Any]) -> Any:
        return ast.Default(str(c[1]), c[2].value, self._span(c), self._place(c[1]))

    def expect(self, c: list[Any]) -> Any:
        return ast.Expect(c[1], self._span(c))

    def if_(self, c: list[Any]) -> Any:
        return ast.If(c[1], c[2], c[4], self._span(c))

    def for_(self, c: list[Any]) -> Any:
        names: list[list[Token]] = []
        for child in c[1:-3]:
            if isinstance(child, _Part):
                names.append(child.value)
            elif child.type == "NAME":
                names.append([child])
        places = tuple(tuple(map(self._place, group)) for group in names)
        return ast.For(tuple(tuple(map(str, group)) for group in names), c[-2], c[-1], self._span(c), False, places)

    def unpack(self, c: list[Any]) -> Any:
        return self._part([t for t in c if t.type == "NAME"], c)

    def repeat(self, c: list[Any]) -> Any:
        return ast.For((), c[1], c[2], self._span(c), repeat=True)

    def range_(self, c: list[Any]) -> Any:
        return ast.Range(c[0], c[2], c[4], self._span(c))

    def pipeline(self, c: list[Any]) -> Any:
        return self._part(tuple(s for s in c if not isinstance(s, Token)), c)

    def apply(self, c: list[Any]) -> Any:
        return ast.Apply(c[0], c[1].value if c[1] else None, c[2], self._span(c))

    def ref(self, c: list[Any]) -> Any:
        return ast.Target(str(c[0]), tuple(e for e in c[1:] if not isinstance(e, Token)), self._span(c))

    def _reserved(self, c: list[Any]) -> Any:
        return ast.Reserved(str(c[0]), self._place(c[0]), c[-1] if isinstance(c[-1], ast.Body) else None)

    on = towers = exchange = train = _reserved

    def broken(self, c: list[Any]) -> Any:
        text = self.source.text[c[0].start_pos or 0 : c[0].end_pos or 0]
        return ast.Broken(tuple(dict.fromkeys(_NAMES.findall(text))), self._place(c[0]))

    def device(self, c: list[Any]) -> Any:
        return self._part(None, c)

    setting = penalty = freeze = pattern = device

    # --- expressions

    def choose(self, c: list[Any]) -> Any:
        return ast.Choose(c[2], c[0], c[4], self._span(c))

    def binary(self, c: list[Any]) -> Any:
        return ast.Binary(str(c[1]), c[0], c[2], self._span(c))

    compare = or_op = and_op = binary

    def unary(self, c: list[Any]) -> Any:
        return ast.Unary(str(c[0]), c[1], self._span(c))

    not_op = unary

    def index(self, c: list[Any]) -> Any:
        return ast.Index(c[0], c[2], self._span(c))

    def attribute(self, c: list[Any]) -> Any:
        return ast.Attribute(c[0], str(c[2]), self._span(c))

    def integer(self, c: list[Any]) -> Any:
        return self._number(self._integer(c[0]), c[0])

    def real(self, c: list[Any]) -> Any:
        text = c[0].replace("_", "")
        scale = _SUFFIX.get(text[-1], 1)
        value: int | float | None = float(text.rstrip("KMGT"))
        if value == float("inf"):
            self._too_large(c[0], "a float goes up to 1.7e308")
            value = None
        elif scale > 1:
            # 4.1G is 4,100,000,000 to the last digit.
            from fractions import Fraction

            exact = Fraction(text[:-1]) * scale
            value = int(exact) if exact.denominator == 1 else float(exact)
        return self._number(value, c[0])

    def string(self, c: list[Any]) -> Any:
        return ast.String(_unquote(c[0]), self._place(c[0]))

    def size(self, c: list[Any]) -> Any:
        return ast.SizeLiteral(self._numbers(c[0]), self._place(c[0]))

    def joined(self, c: list[Any]) -> Any:
        parts: list[ast.Expr] = []
        for child in c:
            if not isinstance(child, Token):
                parts.append(child)
            elif child.type in ("INT", "SIZE", "XNUM"):
                parts.extend(self._numbers(child))
        return ast.SizeLiteral(tuple(parts), self._span(c))

    def _numbers(self, token: Token) -> tuple[ast.Expr, ...]:
        return tuple(self._number(self._whole(n, token), token) for n in token.strip("x").split("x"))

    def _number(self, value: int | float | None, token: Token) -> ast.Expr:
        """A number; what could not be read was reported."""
        return ast.Broken((), self._place(token)) if value is None else ast.Number(value, self._place(token))

    def _integer(self, token: Token) -> int | None:
        text = token.replace("_", "")
        return self._whole(text.rstrip("KMGT"), token, _SUFFIX.get(text[-1], 1))

    def _whole(self, digits: str, token: Token, scale: int = 1) -> int | None:
        value = int(digits) * scale if len(digits) < 40 else None
        if value is None or value > MAX_INTEGER:
            self._too_large(token, "whole numbers go up to 2**63 - 1")
            return None
        return value

    def _too_large(self, token: Token, limit: str) -> None:
        shown = token if len(token) <= 40 else token[:36] + "…"
        self.problems.append(Diagnostic("E602", f"the number {shown} is too large", Label(self._place(token), limit)))

    def true(self, c: list[Any]) -> Any:
        return ast.Boolean(True, self._place(c[0]))

    def false(self, c: list[Any]) -> Any:
        return ast.Boolean(False, self._place(c[0]))

    def name(self, c: list[Any]) -> Any:
        return ast.Name(str(c[0]), self._place(c[0]))

    def call(self, c: list[Any]) -> Any:
        return ast.Call(str(c[0]), c[1].value, self._span(c), self._place(c[0]))

    def list_(self, c: list[Any]) -> Any:
        return ast.ListLiteral(tuple(e for e in c if e is not None and not isinstance(e, Token)), self._span(c))

    def group(self, c: list[Any]) -> Any:
        return c[1]


def _start(child: Any) -> int:
    if isinstance(child, Token):
        return child.start_pos or 0
    return int(child.start if isinstance(child, _Part) else child.span.start)


def _end(child: Any) -> int:
    if isinstance(child, Token):
        return child.end_pos or 0
    return int(child.end if isinstance(child, _Part) else child.span.end)


#: the names in the text of a statement that cannot be read, strings and comments left out
_NAMES = re.compile(r'(?:"[^"\n]*"|#[^\n]*|[0-9]\w*|\s)*([A-Za-z_]\w*)')
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}


def _unquote(token: Token) -> str:
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m.group(1), m.group(0)), token[1:-1])
