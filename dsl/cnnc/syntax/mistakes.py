"""Syntax errors in words: what stands there, what could have, and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from lark import Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from cnnc.diagnostics.model import Diagnostic, Label
from cnnc.source import Source, Span

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
    "IMPORT": "`import`",
    "ELSE": "`else`",
    "DOT": "`.`",
}
_ARROW = "ARROW"
_STATEMENT = frozenset({"LET", "INPUT", "REPEAT", "FOR"})
_VALUE = frozenset({"INT", "STRING", "LSQB", "NAME"})
_DEFINITION = frozenset({"NETWORK", "BLOCK"})
_OPERATOR = frozenset({"PLUS", "STAR"})

#: what people write who know another language
_HINTS = {
    "'": 'strings stand in double quotes: "…"',
    "&": "write `and`",
    "|": "write `or`",
    "!": "write `not`, or `!=`",
    "^": "write `**`",
    "×": "a size is written with the letter x: 3x3",
    "→": "write `->`",
    "−": "write `-`",
    "\\": "a line goes on after `->`, an operator, a comma or an open bracket",
}
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


def expected(names: Iterable[str], arrow: bool) -> str:
    """What could have stood there, in words; ``arrow`` says that a pipeline could go on."""
    names = set(names)
    words: list[str] = []
    if names >= _STATEMENT:
        words.append("a statement")
        names &= {"RBRACE"}
    elif names >= _VALUE:
        words.append("a value")
        names &= {"RPAR", "RSQB", "RBRACE", "LBRACE"}
    elif names >= _DEFINITION:
        words.append("`network`, `block`, `from` or `let`")
        names = set()
    elif names >= _OPERATOR:
        words.append("an operator")
        names -= {"LPAR", "LSQB", "DOT"}
    elif arrow:
        words.append("`->`")
        names &= {"SEP", "RBRACE"}
    elif "SEP" in names:
        names &= {"SEP", "LBRACE", "EQUAL", "IMPORT", "ELSE"}
    if names >= {"SEP", "$END"}:
        names.discard("$END")
    words += sorted(_WORDS[n] for n in names if n in _WORDS)
    words = list(dict.fromkeys(words))[:6]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1] if words else ""


def place(source: Source, error: UnexpectedInput) -> tuple[int, int]:
    """Where a syntax error is."""
    if isinstance(error, UnexpectedToken):
        token = error.token
        if token.type == "$END":
            # It has the place of the last token, which may be a newline with comments behind it.
            last = token.start_pos or 0
            end = code_end(source.text, last) if source.text[last : last + 1] in ("\n", ";") else (token.end_pos or 0)
            return end, end
        start = token.start_pos or 0
        if token.type == "SEP":
            start = code_end(source.text, start)
            return start, start + 1
        return start, token.end_pos or start + 1
    start = error.pos_in_stream or 0
    word = re.compile(r"[^\W_][\w.]*|.", re.DOTALL).match(source.text, start)
    return start, word.end() if word else start


def code_end(text: str, at: int) -> int:
    """The end of what stands before ``at``, blanks and comments left out."""
    while True:
        line = text.rfind("\n", 0, at) + 1
        comment = next((m.start() for m in _COMMENT.finditer(text, line, at) if m.group()[0] == "#"), at)
        end = line + len(text[line:comment].rstrip())
        if end > line or not line:
            return end
        at = line - 1


_COMMENT = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"?|#[^\n]*')


def describe(source: Source, error: UnexpectedInput, opened: list[Token]) -> Diagnostic:
    """The problem of a syntax error; ``opened`` are the brackets that are open there."""
    start, end = place(source, error)
    parser: Any = error.interactive_parser
    accepted: set[str] = parser.accepts() - {"BROKEN"} if parser is not None else set()
    arrow = _ARROW in accepted
    words = expected(accepted, arrow)
    text = source.text[start:end]
    label = "closes nothing" if text in (")", "]", "}") and not opened else f"expected {words}" if words else "not here"
    at = Label(Span(source, start, end), label)
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return _unfinished(source, at, opened)
    if isinstance(error, UnexpectedToken) and error.token.type == "SEP":
        help = "`{` stands on the line on which its statement starts" if "LBRACE" in accepted and "NAME" not in accepted else None
        return Diagnostic("E101", "the line ends too early", at, help=help)
    if text.startswith('"') and isinstance(error, UnexpectedCharacters):
        return Diagnostic("E103", "a string is not closed on its line", Label(Span(source, start, start + 1), "opened here"))
    return Diagnostic("E101", f"unexpected `{_shorten(text)}`", at, help=_hint(source, text, start, accepted, arrow))


def _unfinished(source: Source, at: Label, opened: list[Token]) -> Diagnostic:
    """The file ends too early."""
    if not opened:
        return Diagnostic("E102", "the file ends in the middle of something", at)
    closer = {"{": "}", "(": ")", "[": "]"}[opened[-1].value]
    first = Label(_span(source, opened[-1]), "opened here")
    return Diagnostic("E102", f"the file ends before `{opened[-1].value}` is closed", Label(at.span, f"`{closer}` is missing"), (first,))


def not_closed(source: Source, opened: Token, found: int) -> Diagnostic:
    """A bracket that the next statement cannot be inside of."""
    closer = {"{": "}", "(": ")", "[": "]"}[opened.value]
    at = Label(_span(source, opened), f"no `{closer}` for this")
    return Diagnostic("E102", f"`{opened.value}` is not closed", at, (Label(Span(source, found, found), "noticed here"),))


def too_deep(source: Source, token: Token, limit: int) -> Diagnostic:
    """Too many brackets inside each other."""
    at = Label(_span(source, token), "one too many")
    return Diagnostic("E601", f"more than {limit} brackets stand inside each other", at, help="split it into blocks, or use `let`")


def _span(source: Source, token: Token) -> Span:
    return Span(source, token.start_pos or 0, token.end_pos or 0)


def early(source: Source, line: int) -> Diagnostic:
    """A statement that is not finished when the next one starts, on the line at offset ``line``."""
    end = code_end(source.text, line - 1)
    at = Label(Span(source, end, min(end + 1, len(source.text))), "the statement goes on after this, but nothing comes")
    return Diagnostic("E101", "the line ends too early", at)


def _hint(source: Source, text: str, start: int, accepted: set[str], arrow: bool) -> str | None:
    """What was probably meant."""
    line_start = source.text.rfind("\n", 0, start) + 1
    before = source.text[line_start:start].rstrip()
    first = before.split(None, 1)[0] if before else ""
    if accepted >= _DEFINITION:
        return _did_you_mean(text, ("network", "block", "from", "let"))
    if first == "from" and text == "import":
        return 'a file stands in quotes: `from "blocks.cnn" import …`; bundled blocks are in `std`: `from std.residual import …`'
    if text in _COMPARISONS and re.search(r"==|!=|[<>]", before):
        return "comparisons do not chain: join two with `and`" if first != "expect" else "comparisons do not chain: write two lines"
    if text == "=" and first == "expect":
        return "a fact is compared with `==`"
    if first in ("block", "network", "from", "import") and before.strip() == first:
        return f"`{first}` stands outside of networks and blocks"
    if re.fullmatch(r"[0-9]+X[0-9X]+", text):
        return "a size is written with a small x: 3x3"
    if text[:1] in _HINTS:
        return _HINTS[text[0]] or None
    if re.search(r"[0-9]\.$", before):
        return "a number has digits on both sides of its point"
    if arrow:
        guess = _did_you_mean(first, _KEYWORDS) if before.strip() == first else None
        joined = "stages are joined by `->`; a statement ends at the end of its line, or at `;`"
        return guess or (joined if re.match(r"[A-Za-z_]", text) else None)
    return None


_KEYWORDS = ("input", "output", "head", "module", "default", "expect", "repeat")


def _did_you_mean(word: str, known: Iterable[str]) -> str | None:
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"did you mean `{found[0]}`?" if found and found[0] != word else None


def _shorten(text: str) -> str:
    shown = text if len(text) <= 30 else text[:29] + "…"
    return "".join(ch if ch.isprintable() else f"\\x{ord(ch):02x}" for ch in shown)
