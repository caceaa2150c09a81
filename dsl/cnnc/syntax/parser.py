"""Text to tree. The only module that knows lark.

The grammar is ``grammars/cnn.lark``; its tables are kept in the user's cache folder, since building them costs more than most parses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from cnnc.diagnostics.model import Diagnostic, Label
from cnnc.resources import cache_dir, grammar_path
from cnnc.source import Source, Span
from cnnc.syntax import ast

#: The newest edition of the language that this compiler knows.
EDITION = 1
#: How many brackets may stand inside each other.
MAX_NESTING = 200
#: How many digits a number may have.
MAX_DIGITS = 30

_SUFFIX = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_COMMENTS = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"|(#[^\n]*)')


@dataclass(frozen=True, slots=True)
class Parsed:
    """What parsing gives: a tree as far as it could be built, and the problems."""

    file: ast.File
    problems: tuple[Diagnostic, ...]


class _Part(NamedTuple):
    """A piece of tree that is no node of its own, with its place."""

    value: Any
    start: int
    end: int


class _Stop(Exception):
    """A problem found while the tree is built."""

    def __init__(self, code: str, message: str, token: Token, help: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.token, self.help = code, message, token, help


# ------------------------------------------------------------------------------------------------------------------- line ends


class _LineEnds:
    """Makes statement ends of newlines and semicolons, where they are ends."""

    always_accept = ("NL", "SEMI")
    #: after these a newline ends nothing
    _OPEN = frozenset(
        "LBRACE LPAR LSQB COMMA EQUAL COLON __ANON_ARROW PLUS MINUS STAR SLASH PERCENT SEP AND OR NOT".split()
        + ["->", "**", "//", "==", "!=", "<=", ">=", "<", ">", ".."]
    )
    _OPENERS = frozenset("([{")
    _CLOSERS = frozenset(")]}")

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        """The tokens of a text, with SEP between statements."""
        stack: list[str] = []
        ended = True
        held = self._OPEN
        for token in stream:
            kind = token.type
            if kind in ("NL", "SEMI"):
                if not ended and not (stack and stack[-1] != "{"):
                    ended = True
                    yield Token.new_borrow_pos("SEP", token.value, token)
                continue
            value = token.value
            if value in self._OPENERS and kind != "STRING":
                if len(stack) >= MAX_NESTING:
                    raise _Stop("E601", f"more than {MAX_NESTING} brackets stand inside each other", token, "split it into blocks")
                stack.append(value)
            elif value in self._CLOSERS and stack:
                stack.pop()
            ended = kind in held or value in held
            yield token


# ------------------------------------------------------------------------------------------------------------------- the tree


class _Builder(Transformer[Token, Any]):
    """Rule by rule, the tree. Every token is kept, so each child is a token, a part or a node with a span."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source

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
            edition, span = c[0].value, Span(self.source, c[0].start, c[0].end)
        return ast.File(self.source, edition, span, tuple(i for i in c if i is not None and not isinstance(i, Token | _Part)))

    def edition(self, c: list[Any]) -> Any:
        return _Part(_integer(c[1]), _start(c[0]), _end(c[1]))

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
        targets, rest = [], []
        seen_in = False
        for child in c[1:]:
            if isinstance(child, Token) and child.type == "IN":
                seen_in = True
            elif not isinstance(child, Token) and seen_in:
                rest.append(child)
            elif isinstance(child, _Part):
                targets.append(child.value)
            elif isinstance(child, Token) and child.type == "NAME":
                targets.append((str(child),))
        return ast.For(tuple(targets), rest[0], rest[1], self._span(c))

    def unpack(self, c: list[Any]) -> Any:
        return self._part(tuple(str(t) for t in c if t.type == "NAME"), c)

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
        return ast.Reserved(str(c[0]), self._place(c[0]))

    on = towers = exchange = train = _reserved

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
        return ast.Number(_integer(c[0]), self._place(c[0]))

    def real(self, c: list[Any]) -> Any:
        text = c[0].replace("_", "")
        scale = _SUFFIX.get(text[-1], 1)
        value = float(text.rstrip("KMGT")) * scale
        if value in (float("inf"),):
            raise _Stop("E602", f"the number {c[0][:20]} is too large", c[0])
        return ast.Number(int(value) if scale > 1 and value == int(value) else value, self._place(c[0]))

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
        place = self._place(token)
        return tuple(ast.Number(_whole(n, token), place) for n in token.strip("x").split("x"))

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


def _whole(digits: str, token: Token) -> int:
    if len(digits) > MAX_DIGITS:
        raise _Stop("E602", f"a number of {len(digits)} digits is too large: {MAX_DIGITS} are the most", token)
    return int(digits)


def _integer(token: Token) -> int:
    text = token.replace("_", "")
    return _whole(text.rstrip("KMGT"), token) * _SUFFIX.get(text[-1], 1)


_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}


def _unquote(token: Token) -> str:
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m.group(1), m.group(0)), token[1:-1])


# ------------------------------------------------------------------------------------------------------------------ entry point

_parsers: dict[str, Lark] = {}


def _lark(builder: _Builder) -> Lark:
    """The parser, with its tables from the cache where there is one."""
    folder = cache_dir()
    options: dict[str, Any] = {
        "parser": "lalr",
        "lexer": "contextual",
        "keep_all_tokens": True,
        "maybe_placeholders": True,
        "transformer": builder,
        "postlex": _LineEnds(),
    }
    grammar = grammar_path().read_text(encoding="utf-8")
    if folder is not None:
        try:
            return Lark(grammar, cache=str(folder / "grammar.lark-cache"), **options)
        except OSError:
            pass  # a cache that cannot be written is no reason not to parse
    return Lark(grammar, **options)


_WORDS = {
    "NAME": "a name",
    "INT": "a number",
    "FLOAT": "a number",
    "SIZE": "a size such as 3x3",
    "STRING": "a string",
    "SEP": "the end of the statement",
    "$END": "the end of the file",
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "COMMA": "`,`",
    "EQUAL": "`=`",
    "COLON": "`:`",
    "IN": "`in`",
}
_VALUE_STARTS = frozenset({"INT", "FLOAT", "STRING", "SIZE", "TRUE", "FALSE", "NAME", "LSQB", "LPAR"})
_STATEMENT_STARTS = frozenset({"LET", "HEAD", "REPEAT", "FOR"})


def _expected(names: Iterable[str]) -> str:
    """What could have stood there, in words."""
    names = set(names)
    words: list[str] = []
    if names >= _STATEMENT_STARTS:
        words.append("a statement")
        names &= {"RBRACE", "$END"}
    elif names >= _VALUE_STARTS:
        words.append("a value")
        names -= _VALUE_STARTS | {"NOT", "MINUS", "PLUS", "IN"}
    elif names >= {"NETWORK", "BLOCK"}:
        words.append("`network`, `block`, `from` or `let`")
        names = set()
    words += sorted(_WORDS[n] for n in names if n in _WORDS)
    words = list(dict.fromkeys(words))[:6]
    if not words:
        return ""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


def _syntax_problem(source: Source, error: UnexpectedInput) -> Diagnostic:
    at = error.pos_in_stream or 0
    if isinstance(error, UnexpectedToken):
        token = error.token
        at = len(source.text) if token.type == "$END" else (token.start_pos or 0)
        end = at if token.type == "$END" else (token.end_pos or at + 1)
        expected = _expected(error.expected)
        label = f"expected {expected}" if expected else "not here"
        if token.type == "$END":
            at = end = len(source.text.rstrip())
            return Diagnostic("E102", "the file ends in the middle of something", Label(Span(source, at, end), label))
        if token.type == "SEP":
            end = at + 1
            return Diagnostic("E101", "the line ends too early", Label(Span(source, at, end), label))
        return Diagnostic("E101", f"unexpected `{_shorten(str(token))}`", Label(Span(source, at, end), label))
    if isinstance(error, UnexpectedCharacters):
        word = re.match(r"[\w.]+|.", source.text[at : at + 40], re.DOTALL)
        text = word.group(0) if word else ""
        label = _expected(error.allowed or ())
        if text == '"':
            return Diagnostic("E103", "a string is not closed on its line", Label(Span(source, at, at + 1), "opened here"))
        return Diagnostic(
            "E101", f"unexpected `{_shorten(text)}`", Label(Span(source, at, at + len(text)), f"expected {label}" if label else "not part of the language")
        )
    return Diagnostic("E101", "this cannot be read", Label(Span(source, at, at + 1)))


def _shorten(text: str) -> str:
    shown = text if len(text) <= 30 else text[:29] + "…"
    return "".join(ch if ch.isprintable() else f"\\x{ord(ch):02x}" for ch in shown)


def parse(source: Source) -> Parsed:
    """The tree of a text, and its syntax errors. Never raises for what a text may hold."""
    empty = ast.File(source, None, None, ())
    comments = tuple(
        ast.Comment(m.group(1), Span(source, m.start(1), m.end(1))) for m in _COMMENTS.finditer(source.text) if m.group(1) is not None
    )
    try:
        file = _run(source)
    except UnexpectedInput as error:
        return Parsed(empty, (_syntax_problem(source, error),))
    except _Stop as stop:
        return Parsed(empty, (_stopped(source, stop),))
    except RecursionError:
        at = Label(Span(source, 0, 0))
        return Parsed(empty, (Diagnostic("E601", "the file nests too deeply", at),))
    file = ast.File(source, file.edition, file.edition_span, file.items, comments)
    if file.edition is not None and file.edition > EDITION and file.edition_span is not None:
        problem = Diagnostic(
            "E104",
            f"this file is written in edition {file.edition} of the language, but this compiler knows edition {EDITION}",
            Label(file.edition_span, "newer than this compiler"),
            help="update cnnc, or write the file in edition 1",
        )
        return Parsed(file, (problem,))
    return Parsed(file, ())


def _stopped(source: Source, stop: _Stop) -> Diagnostic:
    token = stop.token
    return Diagnostic(stop.code, stop.message, Label(Span(source, token.start_pos or 0, token.end_pos or 0)), help=stop.help)


def _run(source: Source) -> ast.File:
    # The builder holds the source, so the tables are shared and the callbacks are the builder's own methods with its source swapped.
    parser = _parsers.get("cnn")
    if parser is None:
        builder = _Builder(source)
        parser = _parsers["cnn"] = _lark(builder)
        _builders.append(builder)
    builder = _builders[0]
    before, builder.source = builder.source, source
    try:
        tree: ast.File = parser.parse(source.text)  # type: ignore[assignment]
    finally:
        builder.source = before
    return tree


_builders: list[_Builder] = []
