"""Expressions of the spec as Python text. They are trees of the language over names of the emitted code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cnnc.elaborate.evaluate import Evaluator
from cnnc.elaborate.values import Refusal, refuse
from cnnc.layers.form import literal
from cnnc.source import Source, Span
from cnnc.syntax import ast

_NOWHERE = Span(Source("<emitted>", ""), 0, 0)

#: Functions that need something in the emitted file: an import or a helper.
NEEDS: Mapping[str, str] = {"floor": "math", "ceil": "math", "divisible": "divisible"}

DIVISIBLE = '''def divisible(value: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, never below 90 % of `value` (MobileNet's rule)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded
'''


def number(value: int | float) -> ast.Number:
    """A number as an expression."""
    return ast.Number(value, _NOWHERE)


def constant(value: Any) -> ast.Expr:
    """A value as an expression."""
    if isinstance(value, bool):
        return ast.Boolean(value, _NOWHERE)
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, str):
        return ast.String(value, _NOWHERE)
    return ast.ListLiteral(tuple(constant(v) for v in value), _NOWHERE)


def name(identifier: str) -> ast.Name:
    """A name of the emitted code."""
    return ast.Name(identifier, _NOWHERE)


def add(left: ast.Expr, right: ast.Expr) -> ast.Expr:
    """A sum, with whole constants joined: ``depth - 1 + 2`` is ``depth + 1``."""
    base, offset = _offset(left)
    other, more = _offset(right)
    total = offset + more
    if base is None or other is None:
        kept = base if other is None else other
        if kept is None:
            return number(total)
        if total == 0:
            return kept
        return ast.Binary("+" if total > 0 else "-", kept, number(abs(total)), _NOWHERE)
    joined: ast.Expr = ast.Binary("+", base, other, _NOWHERE)
    return joined if total == 0 else ast.Binary("+" if total > 0 else "-", joined, number(abs(total)), _NOWHERE)


def _offset(expr: ast.Expr) -> tuple[ast.Expr | None, int]:
    """An expression as a rest and a whole constant that is added to it."""
    if isinstance(expr, ast.Number) and isinstance(expr.value, int):
        return None, expr.value
    if isinstance(expr, ast.Binary) and expr.op in ("+", "-") and isinstance(expr.right, ast.Number) and isinstance(expr.right.value, int):
        rest, offset = _offset(expr.left)
        return rest, offset + (expr.right.value if expr.op == "+" else -expr.right.value)
    return expr, 0


def multiply(left: ast.Expr, right: ast.Expr) -> ast.Expr:
    """A product; of two numbers, their value; by one, the other side."""
    if isinstance(left, ast.Number) and isinstance(right, ast.Number):
        return number(left.value * right.value)
    for a, b in ((left, right), (right, left)):
        if isinstance(a, ast.Number) and a.value == 1:
            return b
        if isinstance(a, ast.Number) and isinstance(b, ast.Binary) and b.op == "*" and isinstance(b.left, ast.Number):
            return multiply(number(a.value * b.left.value), b.right)
    return ast.Binary("*", left, right, _NOWHERE)


def has_names(expr: ast.Expr) -> bool:
    """Whether an expression depends on anything."""
    return bool(names_in(expr))


def names_in(expr: ast.Expr) -> set[str]:
    """The names that an expression uses."""
    found: set[str] = set()

    def visit(e: ast.Expr) -> None:
        if isinstance(e, ast.Name):
            found.add(e.id)
        for child in children(e):
            visit(child)

    visit(expr)
    return found


def functions_in(expr: ast.Expr) -> set[str]:
    """The functions that an expression calls."""
    found = {expr.name} if isinstance(expr, ast.Call) else set()
    for child in children(expr):
        found |= functions_in(child)
    return found


def children(e: ast.Expr) -> tuple[ast.Expr, ...]:
    """The expressions directly inside one."""
    match e:
        case ast.Unary():
            return (e.operand,)
        case ast.Binary():
            return (e.left, e.right)
        case ast.Choose():
            return (e.then, e.condition, e.other)
        case ast.ListLiteral():
            return e.items
        case ast.SizeLiteral():
            return e.parts
        case ast.Call():
            return tuple(a.value for a in e.args)
        case ast.Index():
            return (e.base, e.index)
        case ast.Attribute():
            return (e.base,)
        case ast.Range():
            return (e.start, e.stop) + ((e.step,) if e.step is not None else ())
        case _:
            return ()


def rebuild(e: ast.Expr, change: Callable[[ast.Expr], ast.Expr | None]) -> ast.Expr | None:
    """The same expression with each direct part changed; None when one of them cannot be."""
    parts: list[ast.Expr] = []
    for child in children(e):
        changed = change(child)
        if changed is None:
            return None
        parts.append(changed)
    match e:
        case ast.Unary("not", _, _) if isinstance(parts[0], ast.Boolean):
            return constant(not parts[0].value)
        case ast.Unary():
            return ast.Unary(e.op, parts[0], e.span)
        case ast.Binary("and" | "or", _, _, _) if isinstance(parts[0], ast.Boolean):
            return parts[1] if parts[0].value is (e.op == "and") else parts[0]
        case ast.Binary("+" | "-", _, _, _) if isinstance(parts[1], ast.Number) and isinstance(parts[1].value, int):
            return add(parts[0], number(parts[1].value if e.op == "+" else -parts[1].value))
        case ast.Binary("*", _, _, _):
            return multiply(parts[0], parts[1])
        case ast.Binary() if all(isinstance(p, ast.Number) for p in parts):
            value = evaluate(ast.Binary(e.op, parts[0], parts[1], e.span), {})
            return None if value is None else constant(value)
        case ast.Binary():
            return ast.Binary(e.op, parts[0], parts[1], e.span)
        case ast.Choose():
            if isinstance(parts[1], ast.Boolean):
                return parts[0] if parts[1].value else parts[2]
            return ast.Choose(parts[1], parts[0], parts[2], e.span)
        case ast.ListLiteral():
            return ast.ListLiteral(tuple(parts), e.span)
        case ast.SizeLiteral():
            return ast.SizeLiteral(tuple(parts), e.span)
        case ast.Call():
            return ast.Call(e.name, tuple(ast.Arg(None, p, p.span) for p in parts), e.span, e.name_span)
        case ast.Index():
            return ast.Index(parts[0], parts[1], e.span)
        case ast.Range():
            return ast.Range(parts[0], parts[1], parts[2] if len(parts) > 2 else None, e.span)
        case _:
            return e


def substitute(e: ast.Expr, values: Mapping[str, ast.Expr]) -> ast.Expr | None:
    """An expression with names replaced; None when one has no replacement."""
    if isinstance(e, ast.Name):
        return values.get(e.id)
    return rebuild(e, lambda child: substitute(child, values))


_known: Mapping[str, Any] = {}


def _lookup(identifier: str, span: Span) -> Any:
    if _known.get(identifier) is None:
        refuse("E000", f"{identifier} is unknown", span)
    return _known[identifier]


_evaluator = Evaluator(_lookup)


def evaluate(expr: ast.Expr, names: Mapping[str, Any]) -> Any:
    """The value of an expression where names have these values; None when it has none."""
    global _known
    _known, _evaluator.work = names, 0
    try:
        return _evaluator(expr)
    except Refusal:
        return None


_LEVELS = {
    "or": 1,
    "and": 2,
    "==": 4,
    "!=": 4,
    "<": 4,
    "<=": 4,
    ">": 4,
    ">=": 4,
    "+": 5,
    "-": 5,
    "*": 6,
    "/": 6,
    "//": 6,
    "%": 6,
    "**": 8,
}


def to_python(expr: ast.Expr, whole: Callable[[ast.Expr], bool] | None = None) -> str:
    """Python text with no more parentheses than needed, as a formatter leaves it.

    ``whole(e)`` says whether the quotient ``e`` comes out whole, so that Python's ``//`` gives the language's ``/``.
    """
    return _text(expr, whole)[0]


def _text(e: ast.Expr, whole: Callable[[ast.Expr], bool] | None) -> tuple[str, int]:
    """Text and how tightly it binds."""

    def wrap(child: ast.Expr, level: int) -> str:
        text, own = _text(child, whole)
        return text if own >= level else f"({text})"

    match e:
        case ast.Number():
            return literal(e.value), 9 if e.value >= 0 else 7
        case ast.Boolean():
            return ("True" if e.value else "False"), 9
        case ast.String():
            return literal(e.value), 9
        case ast.Name():
            return e.id, 9
        case ast.ListLiteral():
            inner = [to_python(i, whole) for i in e.items]
            return (f"({inner[0]},)" if len(inner) == 1 else "(" + ", ".join(inner) + ")"), 9
        case ast.SizeLiteral():
            inner = [to_python(i, whole) for i in e.parts]
            return (inner[0] if len(set(inner)) == 1 else "(" + ", ".join(inner) + ")"), 9
        case ast.Unary():
            if e.op == "not":
                return f"not {wrap(e.operand, 3)}", 3
            return f"{e.op}{wrap(e.operand, 7)}", 7
        case ast.Binary():
            level = _LEVELS[e.op]
            op = "//" if e.op == "/" and whole is not None and whole(e) else e.op
            if op == "**":
                simple = all(isinstance(s, ast.Name | ast.Number) for s in (e.left, e.right))
                gap = "" if simple else " "
                return f"{wrap(e.left, 9)}{gap}**{gap}{wrap(e.right, 7)}", 8
            right = level if e.op in ("and", "or") else level + 1
            return f"{wrap(e.left, level if level != 4 else 5)} {op} {wrap(e.right, right)}", level
        case ast.Choose():
            shorter = _simpler(e, whole)
            if shorter is not None:
                return shorter
            return f"{wrap(e.then, 1)} if {wrap(e.condition, 1)} else {wrap(e.other, 0)}", 0
        case ast.Call():
            inner = [to_python(a.value, whole) for a in e.args]
            prefix = "math." if e.name in ("floor", "ceil") else ""
            return f"{prefix}{e.name}({', '.join(inner)})", 9
        case ast.Index():
            return f"{wrap(e.base, 9)}[{to_python(e.index, whole)}]", 9
        case ast.Range():
            parts = [e.start, e.stop] + ([e.step] if e.step is not None else [])
            if e.step is None and isinstance(e.start, ast.Number) and e.start.value == 0:
                parts = [e.stop]
            return f"range({', '.join(to_python(p, whole) for p in parts)})", 9
        case _:
            raise AssertionError(f"no Python for {type(e).__name__}")


def _simpler(e: ast.Choose, whole: Callable[[ast.Expr], bool] | None) -> tuple[str, int] | None:
    """A choice that is none, or that ``min`` or ``max`` says shorter; None for any other."""
    then, other = _text(e.then, whole), _text(e.other, whole)
    if then == other:
        return then
    test = e.condition
    if not isinstance(test, ast.Binary) or test.op not in ("<", "<=", ">", ">="):
        return None
    left, right = _text(test.left, whole)[0], _text(test.right, whole)[0]
    if {then[0], other[0]} != {left, right}:
        return None
    larger = (then[0] == left) is (test.op in (">", ">="))
    first, second = (right, left) if isinstance(test.right, ast.Name) or isinstance(test.left, ast.Number) else (left, right)
    return f"{'max' if larger else 'min'}({first}, {second})", 9
