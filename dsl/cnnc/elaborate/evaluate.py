"""The value of an expression. Everything here is total: numbers are bounded, lists and strings are short, and no expression loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from cnnc.elaborate.functions import FUNCTIONS, USAGE
from cnnc.elaborate.values import SYMBOLS, BlockValue, Family, Frame, Poisoned, ValueRef, builtin, did_you_mean, refuse, show
from cnnc.layers.base import describe
from cnnc.layers.init import INITS, Init
from cnnc.shapes import Shape
from cnnc.source import Span
from cnnc.syntax import ast
from cnnc.syntax.ast import MAX_INTEGER

#: How many numbers a list may hold, those in inner lists counted in.
MAX_LIST = 100_000
#: How deeply lists may hold lists.
MAX_LIST_DEPTH = 16
#: How many characters a string may have.
MAX_STRING = 10_000
#: How many entries of lists may be made in all while one network is built.
MAX_WORK = 20_000_000

#: Gives the value of a name, or refuses it at its place.
Lookup = Callable[[str, Span], Any]


class Evaluator:
    """Values of expressions among the names that ``lookup`` knows."""

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        #: how many entries of lists were made
        self.work = 0
        self._rules: dict[type, Callable[[Any], Any]] = {kind: getattr(self, rule) for kind, rule in _RULES.items()}

    def __call__(self, expr: ast.Expr) -> Any:
        kind = type(expr)
        if kind is ast.Number:
            return expr.value  # type: ignore[union-attr]
        return self._rules[kind](expr)

    def whole(self, expr: ast.Expr, what: str) -> int:
        """The value of an expression that must be a whole number."""
        value = self(expr)
        if isinstance(value, bool) or not isinstance(value, int):
            refuse(
                "E212",
                f"{what} must be a whole number, but is {show(value)}",
                expr.span,
                f"this is {show(value)}",
                help="use `//`, `round(…)`, `floor(…)` or `ceil(…)`" if isinstance(value, float) else None,
            )
        return value

    def truth(self, expr: ast.Expr) -> bool:
        """The value of a condition."""
        value = self(expr)
        if not isinstance(value, bool):
            refuse("E213", f"a condition must be true or false, but is {show(value)}", expr.span, f"this is {show(value)}")
        return value

    # --- one method a kind of expression

    def _literal(self, expr: ast.String | ast.Boolean) -> Any:
        """A string, true or false."""
        return expr.value

    def _size(self, expr: ast.SizeLiteral) -> Any:
        """A size, of which parts may be computed."""
        return Shape(p.value if type(p) is ast.Number else self.whole(p, "a size") for p in expr.parts)  # type: ignore[misc]

    def _name(self, expr: ast.Name) -> Any:
        """What a name means here."""
        return self.lookup(expr.id, expr.span)

    def _list(self, expr: ast.ListLiteral) -> Any:
        """A list or a tuple, which are the same."""
        return self._bounded([self(i) for i in expr.items], expr)

    def _unary(self, expr: ast.Unary) -> Any:
        """A sign or ``not``, perhaps several in a row."""
        signs = [expr.op]
        inner = expr.operand
        while type(inner) is ast.Unary and (inner.op == "not") is (expr.op == "not"):
            signs.append(inner.op)
            inner = inner.operand
        odd = signs.count("not" if expr.op == "not" else "-") % 2
        if expr.op == "not":
            return self.truth(inner) is not bool(odd)
        value = self._number(self(inner), inner, expr.op)
        return -value if odd else value

    def _number(self, value: Any, expr: ast.Expr, op: str) -> int | float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            refuse("E211", f"`{op}` needs numbers, but this is {show(value)}", expr.span, f"this is {show(value)}")
        return value

    def _binary(self, expr: ast.Binary) -> Any:
        """Two operands or a chain of them: ``a + b - c`` is walked from its left end, so that a long one needs no stack."""
        left: ast.Expr = expr.left
        if type(left) is not ast.Binary:
            return self._pair(expr, left, None)
        chain = [expr]
        while type(left) is ast.Binary:
            chain.append(left)
            left = left.left
        value = self._pair(chain.pop(), left, None)
        while chain:
            node = chain.pop()
            value = self._pair(node, node.left, (value,))
        return value

    def _pair(self, expr: ast.Binary, left: ast.Expr, known: tuple[Any] | None) -> Any:
        """The value of one operator; ``known`` holds the left side's value when it was worked out already."""
        op = expr.op
        a = self(left) if known is None else known[0]
        if op in ("and", "or"):
            if not isinstance(a, bool):
                refuse("E213", f"`{op}` joins conditions, but this is {show(a)}", left.span, f"this is {show(a)}")
            return a if a is (op == "or") else self.truth(expr.right)
        b = self(expr.right)
        if op in ("==", "!="):
            return self._equal(a, b, expr) is (op == "==")
        if op == "+" and isinstance(a, list) and isinstance(b, list):
            return self._bounded([*a, *b], expr)
        if op == "+" and isinstance(a, str) and isinstance(b, str):
            if len(a) + len(b) > MAX_STRING:
                refuse("E604", f"a string of {len(a) + len(b):,} characters: {MAX_STRING:,} are the most", expr.span)
            return a + b
        if op == "*" and isinstance(a, list) and type(b) is int:
            if len(a) * max(b, 0) > MAX_LIST:
                refuse("E604", f"a list of {len(a) * b:,} entries: {MAX_LIST:,} are the most", expr.span)
            return self._bounded(a * b, expr)
        return self._arithmetic(expr, op, self._number(a, left, op), self._number(b, expr.right, op))

    def _equal(self, a: Any, b: Any, expr: ast.Binary) -> bool:
        for value, side in ((a, expr.left), (b, expr.right)):
            if isinstance(value, ValueRef | Family):
                refuse(
                    "E211",
                    f"{show(value)} is not known before the network runs, so it cannot be compared",
                    side.span,
                    help="compare its `.shape`",
                )
        return bool(_comparable(a) == _comparable(b))

    def _arithmetic(self, expr: ast.Binary, op: str, a: int | float, b: int | float) -> Any:
        if op in _COMPARE:
            return _COMPARE[op](a, b)
        if op in ("/", "//", "%") and b == 0:
            refuse("E214", f"division by zero: {describe(a)} {op} {describe(b)}", expr.right.span, "this is 0")
        if op == "**" and isinstance(a, int) and isinstance(b, int) and b > 0 and abs(a) > 1 and b * math.log2(abs(a)) > 80:
            refuse("E602", f"{describe(a)} ** {describe(b)} is too large: whole numbers go up to 2**63 - 1", expr.span)
        try:
            result = _ARITHMETIC[op](a, b)
        except (OverflowError, ZeroDivisionError):
            refuse("E602", f"{describe(a)} {op} {describe(b)} has no finite value", expr.span)
        return self._sane(result, expr, f"{describe(a)} {op} {describe(b)}")

    def _sane(self, value: Any, expr: ast.Expr, shown: str) -> Any:
        if isinstance(value, complex) or (isinstance(value, float) and not math.isfinite(value)):
            refuse("E602", f"{shown} has no finite value", expr.span)
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            refuse("E602", f"{shown} is too large: whole numbers go up to 2**63 - 1", expr.span)
        return value

    def _bounded(self, value: list[Any], expr: ast.Expr) -> list[Any]:
        """A list that is not too long, lists in it counted in, and not too deep."""
        size = len(value)
        level: list[Any] = [v for v in value if type(v) is list]
        depth = 1
        while level and size <= MAX_LIST:
            depth += 1
            if depth > MAX_LIST_DEPTH:
                refuse("E604", f"lists stand in lists more than {MAX_LIST_DEPTH} deep", expr.span)
            size += sum(map(len, level))
            level = [v for inner in level for v in inner if type(v) is list] if size <= MAX_LIST else []
        if size > MAX_LIST:
            refuse("E604", f"a list of more than {MAX_LIST:,} entries", expr.span)
        self._spend(size, expr.span)
        return value

    def _spend(self, entries: int, span: Span) -> None:
        self.work += entries
        if self.work > MAX_WORK:
            refuse("E604", f"the lists of this network have more than {MAX_WORK:,} entries in all", span, "reached here")

    def _choose(self, expr: ast.Choose) -> Any:
        """``a if c else b``, perhaps several in a row."""
        chosen: ast.Expr = expr
        while type(chosen) is ast.Choose:
            chosen = chosen.then if self.truth(chosen.condition) else chosen.other
        return self(chosen)

    def _index(self, expr: ast.Index) -> Any:
        """An entry of a list, or a value of an indexed name."""
        chain: list[ast.Index] = []
        inner: ast.Expr = expr
        while type(inner) is ast.Index:
            chain.append(inner)
            inner = inner.base
        value = self(inner)
        if isinstance(value, Family):
            return self._member(value, tuple(self.whole(i.index, "an index") for i in reversed(chain)), expr.span)
        for step in reversed(chain):
            value = self._entry(value, step)
        return value

    def _member(self, family: Family, index: tuple[int, ...], span: Span) -> Any:
        found = family.values.get(index)
        if found is None:
            shown = ", ".join(f"{family.name}{brackets(k)}" for k in list(family.values)[:6])
            more = ", …" if len(family.values) > 6 else ""
            headline = f"`{family.name}{brackets(index)}` is not defined"
            refuse("E205", headline, span, f"there is {shown}{more}" if shown else "none is bound yet")
        return found

    def _entry(self, base: Any, step: ast.Index) -> Any:
        at = self.whole(step.index, "an index")
        if not isinstance(base, list | tuple):
            refuse("E211", f"only a list has entries, but this is {show(base)}", step.base.span, f"this is {show(base)}")
        if not -len(base) <= at < len(base):
            entries = f"{len(base)} entr{'y' if len(base) == 1 else 'ies'}"
            refuse("E215", f"index {at} is outside a list of {entries}", step.index.span, f"the list has {entries}, counted from 0")
        return base[at]

    def _attribute(self, expr: ast.Attribute) -> Any:
        """A property of a value or of a shape."""
        base = self(expr.base)
        if isinstance(base, Shape):
            return shape_property(base, expr.name, expr.span)
        if not isinstance(base, ValueRef):
            refuse("E206", f"`.{expr.name}` needs a value of the network, but this is {show(base)}", expr.span)
        if base.shape is None:
            raise Poisoned
        return shape_property(base.shape, expr.name, expr.span)

    def _range(self, expr: ast.Range) -> Any:
        """``a..b by c``, ``b`` excluded."""
        start, stop = self.whole(expr.start, "a range's start"), self.whole(expr.stop, "a range's end")
        step = 1 if expr.step is None else self.whole(expr.step, "a range's step")
        return self._counted(start, stop, step, expr.span, expr.span if expr.step is None else expr.step.span)

    def _counted(self, start: int, stop: int, step: int, span: Span, step_span: Span) -> list[int]:
        if step == 0:
            refuse("E214", "a range cannot go by 0", step_span)
        found = range(start, stop, step)
        if len(found) > MAX_LIST:
            refuse("E604", f"a range of {len(found):,} entries: {MAX_LIST:,} are the most", span)
        self._spend(len(found), span)
        return list(found)

    def _call(self, expr: ast.Call) -> Any:
        """A function or an initialiser."""
        function = FUNCTIONS.get(expr.name)
        if function is None and expr.name in INITS:
            return self._init(expr)
        if function is None and expr.name != "range":
            known = [*FUNCTIONS, "range", *INITS]
            refuse("E207", f"there is no function `{expr.name}`", expr.name_span, help=did_you_mean(expr.name, known))
        for arg in expr.args:
            if arg.name is not None:
                refuse("E208", f"`{expr.name}` takes its arguments by position", arg.span, help=USAGE[expr.name])
        values = [self(a.value) for a in expr.args]
        try:
            if function is None:
                return self._range_call(values, expr)
            result = function(values)
        except (TypeError, ValueError, OverflowError):
            shown = ", ".join(show(v) for v in values)
            refuse("E208", f"`{expr.name}` cannot be applied to ({shown})", expr.span, help=USAGE[expr.name])
        return self._sane(result, expr, f"`{expr.name}` of this")

    def _range_call(self, values: list[Any], expr: ast.Call) -> list[int]:
        if not 1 <= len(values) <= 3 or any(type(v) is not int for v in values):
            raise TypeError
        start, stop = (0, values[0]) if len(values) == 1 else values[:2]
        return self._counted(start, stop, values[2] if len(values) == 3 else 1, expr.span, expr.args[-1].span)

    def _init(self, expr: ast.Call) -> Init:
        _, names = INITS[expr.name]
        given: dict[str, Any] = {}
        for i, arg in enumerate(expr.args):
            if arg.name is None and i >= len(names):
                refuse("E208", f"`{expr.name}` takes {_arguments(len(names))}, but {len(expr.args)} are given", arg.span, "one too many")
            name = arg.name or names[i]
            if name not in names:
                takes = ", ".join(f"`{n}`" for n in names) or "no arguments"
                refuse("E208", f"`{expr.name}` has no argument `{name}`", arg.span, f"it takes {takes}")
            if name in given:
                refuse("E208", f"`{name}` is given twice", arg.span, "again here")
            value = self(arg.value)
            text = name in ("mode", "nonlinearity")
            if isinstance(value, bool) or not isinstance(value, str if text else int | float):
                refuse("E209", f"`{name}` of `{expr.name}` must be a {'word' if text else 'number'}, but is {show(value)}", arg.span)
            if text and value not in _INIT_WORDS[name]:
                refuse("E209", f"`{name}` of `{expr.name}` must be one of {', '.join(_INIT_WORDS[name])}, but is {show(value)}", arg.span)
            given[name] = value
        return Init(expr.name, tuple(given.items()))

    def _broken(self, expr: ast.Broken) -> Any:
        """What the parser reported already."""
        raise Poisoned


_INIT_WORDS = {
    "mode": ("fan_in", "fan_out"),
    "nonlinearity": ("relu", "leaky_relu", "linear", "sigmoid", "tanh", "selu"),
}


def among(frame: Frame) -> Evaluator:
    """Expressions among the names of a file, or of whatever ``frame`` holds."""

    def lookup(name: str, span: Span) -> Any:
        binding = frame.find(name)
        if binding is not None:
            return binding.read()
        found = builtin(name)
        if found is None:
            undefined(name, span, frame)
        return found

    return Evaluator(lookup)


def undefined(name: str, span: Span, frame: Frame) -> None:
    """Refuse a name that nothing binds."""
    refuse(
        "E204", f"`{name}` is not defined", span, "not known here", help=did_you_mean(name, [*frame.visible(), *SYMBOLS, "true", "false"])
    )


def brackets(index: tuple[int, ...]) -> str:
    """An index as it is written: ``[0][1]``."""
    return "".join(f"[{i}]" for i in index)


def _arguments(count: int) -> str:
    return "no arguments" if count == 0 else f"{count} argument{'s' if count != 1 else ''}"


def _comparable(value: Any) -> Any:
    """A stand-in that is equal to another's exactly when the values are: true is not 1, and a size is the list of its numbers."""
    if isinstance(value, list | tuple):
        return [_comparable(v) for v in value]
    if isinstance(value, BlockValue):
        return value.block
    return (value,) if isinstance(value, bool) else value


_AXES = {"width": 1, "height": 2, "depth": 3, "length": 1}
_PROPERTIES = ("channels", "height", "width", "depth", "length", "shape", "features", "rank", "numel")


def shape_property(shape: Shape, name: str, span: Span) -> Any:
    """``channels``, ``height``, … of a shape; refuses what the shape does not have."""
    if name == "shape":
        return shape
    if name in ("channels", "features"):
        return shape.channels
    if name == "rank":
        return shape.rank
    if name == "numel":
        return shape.numel
    back = _AXES.get(name)
    if back is None:
        has = "it has channels, height, width, depth, length, rank, numel and shape"
        refuse("E206", f"a value has no property `{name}`", span, help=did_you_mean(name, _PROPERTIES, has))
    if shape.rank < back:
        refuse("E206", f"a value of shape {shape} has no {name}", span)
    return shape[-back]


_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _divide(a: int | float, b: int | float) -> int | float:
    if isinstance(a, int) and isinstance(b, int) and a % b == 0:
        return a // b
    return a / b


_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _divide,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "**": lambda a, b: a**b,
}

#: The method for each kind of expression.
_RULES: Mapping[type, str] = {
    ast.String: "_literal",
    ast.Boolean: "_literal",
    ast.SizeLiteral: "_size",
    ast.Name: "_name",
    ast.ListLiteral: "_list",
    ast.Unary: "_unary",
    ast.Binary: "_binary",
    ast.Choose: "_choose",
    ast.Call: "_call",
    ast.Index: "_index",
    ast.Attribute: "_attribute",
    ast.Range: "_range",
    ast.Broken: "_broken",
}
