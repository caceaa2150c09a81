"""Arguments of a call: to which parameter or field each belongs, and a layer from their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from cnnc.elaborate.values import did_you_mean, refuse, show
from cnnc.layers.base import Layer
from cnnc.source import Span
from cnnc.syntax import ast

_FIELDS: dict[type[Layer], dict[str, str]] = {}


def field_names(kind: type[Layer]) -> dict[str, str]:
    """The attributes of an op as a spec writes them, in order, with the keyword of the class that each one is."""
    known = _FIELDS.get(kind)
    if known is None:
        known = _FIELDS[kind] = {(f.alias or n): (f.alias or n) for n, f in kind.model_fields.items()}
    return known


def name_of(arg: ast.Arg) -> Span:
    """The place of an argument's name; of the whole, where it has none."""
    return arg.span if arg.name is None else Span(arg.span.source, arg.span.start, arg.span.start + len(arg.name))


def counted(number: int, thing: str) -> str:
    """``1 argument``, ``2 arguments``."""
    return f"{number} {thing}{'s' if number != 1 else ''}"


def _match(what: str, order: Sequence[str], args: tuple[ast.Arg, ...], unknown: str, known: str | None, most: str) -> dict[str, ast.Arg]:
    """Arguments by name; refuses unknown, doubled, misplaced and surplus ones."""
    bound: dict[str, ast.Arg] = {}
    named = False
    for position, arg in enumerate(args):
        if arg.name is None:
            if named:
                refuse("E208", "a positional argument stands after a named one", arg.span, help="put it first, or give it its name")
            if position >= len(order):
                takes = f"takes {most}{counted(len(order), 'argument')}, but {len(args)} are given" if order else "takes no arguments"
                refuse("E208", f"{what} {takes}", arg.span, "one too many")
            name = order[position]
        else:
            named = True
            name = arg.name
            if name not in order:
                refuse("E208", f"{what} has no {unknown} `{name}`", name_of(arg), "unknown", help=did_you_mean(name, order, known))
        if name in bound:
            refuse("E208", f"`{name}` is given twice", name_of(arg), "again here")
        bound[name] = arg
    return bound


def bind_arguments(kind: type[Layer], args: tuple[ast.Arg, ...]) -> tuple[dict[str, ast.Arg], dict[str, ast.Arg]]:
    """An op's arguments by field; and, apart, those that name values."""
    fields = field_names(kind)
    if not args:
        return {}, {}
    bound = _match(f"`{kind.keyword}`", [*kind.references, *fields], args, "attribute", _attributes(kind), "at most ")
    references = {n: a for n, a in bound.items() if n in kind.references}
    return {fields[n]: a for n, a in bound.items() if n not in references}, references


def _attributes(kind: type[Layer]) -> str:
    names = [*kind.references, *field_names(kind)]
    return f"it has {', '.join(names)}" if names else "it has no attributes"


def bind_defaults(kind: type[Layer], args: tuple[ast.Arg, ...]) -> dict[str, ast.Arg]:
    """The attributes of a ``default`` by field."""
    fields = field_names(kind)
    for arg in args:
        if arg.name is None:
            refuse(
                "E208",
                "a default names its attributes",
                arg.span,
                "no name",
                help=f"for example `default {kind.keyword}({_example(fields)})`",
            )
    return {fields[n]: a for n, a in _match(f"`{kind.keyword}`", list(fields), args, "attribute", _attributes(kind), "").items()}


def _example(fields: Mapping[str, str]) -> str:
    return "bias=false" if "bias" in fields else f"{next(iter(fields), 'name')}=…"


def call_arguments(what: str, params: tuple[ast.Param, ...], args: tuple[ast.Arg, ...], span: Span) -> dict[str, ast.Arg]:
    """The arguments of a block or network by parameter; refuses unknown, doubled, missing and surplus ones."""
    names = [p.name for p in params]
    takes = "it takes " + ", ".join(f"`{n}`" for n in names) if names else "it takes none"
    bound = _match(what, names, args, "parameter", takes, "")
    missing = [p.name for p in params if p.default is None and p.name not in bound]
    if missing:
        shown = " and ".join(f"`{m}`" for m in missing)
        refuse("E208", f"{what} needs {shown}", span, f"{shown} {'are' if len(missing) > 1 else 'is'} missing", help=takes)
    return bound


def make_layer(kind: type[Layer], values: Mapping[str, Any], written: Mapping[str, ast.Arg], span: Span) -> Layer:
    """A layer with checked arguments; the first wrong one is refused at its place."""
    try:
        return kind(**values)
    except ValidationError as error:
        problem = error.errors()[0]
    field = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "missing":
        signature = ", ".join(n if f.is_required() else f"{n}=…" for n, f in ((f.alias or k, f) for k, f in kind.model_fields.items()))
        refuse("E208", f"`{kind.keyword}` needs `{field}`", span, f"`{field}` is missing", help=f"{kind.keyword}({signature})")
    arg = written.get(field)
    if field not in values:
        refuse("E209", f"`{kind.keyword}`: {_sentence(problem)}", span)
    value = values[field]
    code = "E212" if isinstance(value, float) and "whole" in str(problem["msg"]) else "E209"
    refuse(
        code,
        f"`{field}` of `{kind.keyword}`: {_sentence(problem)}",
        arg.span if arg else span,
        f"this is {show(value)}",
        help="use `//`, `round(…)`, `floor(…)` or `ceil(…)`" if code == "E212" else None,
    )


_BOUNDS = {"greater_than_equal": "at least", "greater_than": "more than", "less_than": "less than", "less_than_equal": "at most"}


def _sentence(error: Any) -> str:
    """What pydantic says, as a sentence of ours."""
    context = error.get("ctx") or {}
    kind, given = error["type"], show(error["input"])
    if kind == "value_error":
        return str(context.get("error", error["msg"]))
    if kind in _BOUNDS:
        return f"must be {_BOUNDS[kind]} {next(iter(context.values()))}, but is {given}"
    if kind == "literal_error":
        return f"must be {str(context.get('expected', 'another word')).replace(chr(39), '`')}, but is {given}"
    return f"{str(error['msg'])[:1].lower()}{str(error['msg'])[1:]}, but this is {given}"


_LITERALS = (ast.Number, ast.String, ast.Boolean)


def is_fixed(expr: ast.Expr) -> bool:
    """Whether an expression means the same wherever it stands."""
    if isinstance(expr, ast.SizeLiteral):
        return all(type(p) is ast.Number for p in expr.parts)
    return isinstance(expr, _LITERALS)


def frozen(value: Any) -> Any:
    """A hashable stand-in that tells 1, 1.0 and true apart."""
    if isinstance(value, list):
        return tuple(map(frozen, value))
    return (type(value), value)
