"""Expressions: what they may refer to, and their value. No layers are made here."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Never

from cnnc.diagnostics.model import Diagnostic, Label
from cnnc.layers.base import KINDS, Layer, describe
from cnnc.layers.init import INITS, Init
from cnnc.shapes import Shape
from cnnc.source import Span
from cnnc.syntax import ast

#: The largest whole number that an expression may reach.
MAX_INTEGER = 2**63 - 1
#: The longest list that ``range`` or an expression may make.
MAX_LIST = 100_000

#: Words that stand for themselves where no such name is bound: the options of the operators' fields.
SYMBOLS = frozenset(
    "same valid floor ceil exact zeros reflect replicate circular constant nearest bilinear bicubic trilinear linear area all channels".split()
)


class Refusal(Exception):
    """A problem at a place; the statement that met it is given up, and what hangs on its value is skipped silently."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.headline)
        self.diagnostic = diagnostic


class Poisoned(Exception):
    """A value is needed whose making failed and was reported already."""


def refuse(code: str, headline: str, span: Span, label: str = "", *, help: str | None = None, notes: tuple[str, ...] = ()) -> Never:
    """Give up with a problem."""
    raise Refusal(Diagnostic(code, headline, Label(span, label), help=help, notes=notes))


# ---------------------------------------------------------------------------------------------------------------------- bindings


@dataclass(frozen=True, slots=True)
class ValueRef:
    """A value of the flow, as an expression sees it: where it is and its shape (None: it failed)."""

    ref: Any
    shape: Shape | None
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class BlockValue:
    """A block definition with the names it was defined among."""

    block: ast.Block
    home: Frame

    def __str__(self) -> str:
        return self.block.name


@dataclass(frozen=True, slots=True)
class OpValue:
    """A layer kind as a value: ``unit = relu``."""

    kind: type[Layer]

    def __str__(self) -> str:
        return self.kind.keyword


@dataclass(slots=True)
class Family:
    """The values of an indexed name: ``skip[0]``, ``skip[1]``."""

    name: str
    values: dict[tuple[int, ...], Any] = field(default_factory=dict)


@dataclass(slots=True)
class Binding:
    """A name's value, where it was bound, and whether anyone read it."""

    value: Any
    span: Span
    kind: str
    used: bool = False


@dataclass(eq=False, slots=True)
class Frame:
    """The names of one body; ``parent`` is the body around it.

    ``loop`` marks the bodies of loops and conditions: an indexed name that is bound there belongs to the body around.
    """

    parent: Frame | None = None
    names: dict[str, Binding] = field(default_factory=dict)
    loop: bool = False
    defaults: dict[str, dict[str, ast.Arg]] = field(default_factory=dict)

    def find(self, name: str) -> Binding | None:
        """The binding of a name here or around."""
        frame: Frame | None = self
        while frame is not None:
            found = frame.names.get(name)
            if found is not None:
                return found
            frame = frame.parent
        return None

    def visible(self) -> Iterable[str]:
        """Every name that can be seen from here."""
        frame: Frame | None = self
        while frame is not None:
            yield from frame.names
            frame = frame.parent


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    lowered = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return lowered[found[0]] if found else None


# ------------------------------------------------------------------------------------------------------------------- evaluation


Lookup = Callable[[str, Span], Any]


class Evaluator:
    """Values of expressions among the names that ``lookup`` knows.

    ``lookup(name, span)`` gives the value of a name or refuses. Everything here is total: numbers are bounded, lists are short,
    and no expression loops.
    """

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup

    def __call__(self, expr: ast.Expr) -> Any:
        kind = type(expr)
        if kind is ast.Number:
            return expr.value  # type: ignore[union-attr]
        return _RULES[kind](self, expr)

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
        return expr.value

    def _size(self, expr: ast.SizeLiteral) -> Any:
        return Shape(p.value if type(p) is ast.Number else self.whole(p, "a size") for p in expr.parts)  # type: ignore[misc]

    def _name(self, expr: ast.Name) -> Any:
        return self.lookup(expr.id, expr.span)

    def _list(self, expr: ast.ListLiteral) -> Any:
        return [self(i) for i in expr.items]

    def _unary(self, expr: ast.Unary) -> Any:
        if expr.op == "not":
            return not self.truth(expr.operand)
        value = self._number(expr.operand, expr.op)
        return -value if expr.op == "-" else value

    def _number(self, expr: ast.Expr, op: str) -> int | float:
        value = self(expr)
        if isinstance(value, bool) or not isinstance(value, int | float):
            refuse("E211", f"`{op}` needs numbers, but this is {show(value)}", expr.span, f"this is {show(value)}")
        return value

    def _binary(self, expr: ast.Binary) -> Any:
        op = expr.op
        if op == "and":
            return self.truth(expr.left) and self.truth(expr.right)
        if op == "or":
            return self.truth(expr.left) or self.truth(expr.right)
        if op in ("==", "!="):
            left, right = _plain(self(expr.left)), _plain(self(expr.right))
            return (left == right) is (op == "==")
        if op == "+":
            left, right = self(expr.left), self(expr.right)
            if isinstance(left, list) and isinstance(right, list):
                return self._bounded([*left, *right], expr)
            if isinstance(left, str) and isinstance(right, str):
                return left + right
        if op == "*":
            left, right = self(expr.left), self(expr.right)
            if isinstance(left, list) and type(right) is int:
                if len(left) * max(right, 0) > MAX_LIST:
                    refuse("E604", f"a list of more than {MAX_LIST:,} entries", expr.span)
                return left * right
        a, b = self._number(expr.left, op), self._number(expr.right, op)
        return self._arithmetic(expr, op, a, b)

    def _arithmetic(self, expr: ast.Binary, op: str, a: int | float, b: int | float) -> Any:
        if op in _COMPARE:
            return _COMPARE[op](a, b)
        if op in ("/", "//", "%") and b == 0:
            refuse("E214", f"division by zero: {describe(a)} {op} {describe(b)}", expr.span, "the right side is 0 here")
        if op == "**" and isinstance(a, int) and isinstance(b, int) and b > 0 and abs(a) > 1 and b * math.log2(abs(a)) > 80:
            refuse("E602", f"{describe(a)} ** {describe(b)} is too large", expr.span)
        try:
            result = _ARITHMETIC[op](a, b)
        except (OverflowError, ZeroDivisionError):
            refuse("E602", f"{describe(a)} {op} {describe(b)} has no value", expr.span)
        return self._sane(result, expr)

    def _sane(self, value: Any, expr: ast.Expr) -> Any:
        if isinstance(value, complex) or (isinstance(value, float) and not math.isfinite(value)):
            refuse("E602", "this has no finite value", expr.span)
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            refuse("E602", "this number is too large: whole numbers go up to 2**63 - 1", expr.span)
        return value

    def _bounded(self, value: list[Any], expr: ast.Expr) -> list[Any]:
        if len(value) > MAX_LIST:
            refuse("E604", f"a list of {len(value):,} entries: {MAX_LIST:,} are the most", expr.span)
        return value

    def _choose(self, expr: ast.Choose) -> Any:
        return self(expr.then) if self.truth(expr.condition) else self(expr.other)

    def _index(self, expr: ast.Index) -> Any:
        base, index = self._family(expr)
        if isinstance(base, Family):
            found = base.values.get(index)
            if found is None:
                shown = ", ".join(f"{base.name}{_brackets(k)}" for k in list(base.values)[:6])
                refuse(
                    "E205",
                    f"`{base.name}{_brackets(index)}` is not defined",
                    expr.span,
                    f"there is {shown}" if shown else "none is bound yet",
                )
            return found
        index_value = self.whole(expr.index, "an index")
        if not isinstance(base, list | tuple):
            refuse("E211", f"only a list has entries, but this is {show(base)}", expr.base.span, f"this is {show(base)}")
        if not -len(base) <= index_value < len(base):
            refuse("E215", f"index {index_value} is outside a list of {len(base)}", expr.index.span, f"the list has {len(base)} entries")
        return base[index_value]

    def _family(self, expr: ast.Index) -> tuple[Any, tuple[int, ...]]:
        """The base of ``name[i][j]`` and its indices when the name is an indexed one; else the value of ``expr.base``."""
        indices: list[ast.Expr] = []
        inner: ast.Expr = expr
        while isinstance(inner, ast.Index):
            indices.insert(0, inner.index)
            inner = inner.base
        if isinstance(inner, ast.Name):
            base = self(inner)
            if isinstance(base, Family):
                return base, tuple(self.whole(i, "an index") for i in indices)
        return self(expr.base), ()

    def _attribute(self, expr: ast.Attribute) -> Any:
        base = self(expr.base)
        if isinstance(base, Shape):
            base = ValueRef(None, base, "shape")
        if not isinstance(base, ValueRef):
            refuse("E206", f"`.{expr.name}` needs a value of the network, but this is {show(base)}", expr.span)
        if base.shape is None:
            raise Poisoned
        return shape_property(base.shape, expr.name, expr.span)

    def _range(self, expr: ast.Range) -> Any:
        start, stop = self.whole(expr.start, "a range's start"), self.whole(expr.stop, "a range's end")
        step = 1 if expr.step is None else self.whole(expr.step, "a range's step")
        return self._span_of(start, stop, step, expr.span)

    def _span_of(self, start: int, stop: int, step: int, span: Span) -> list[int]:
        if step == 0:
            refuse("E214", "a range cannot go by 0", span)
        found = range(start, stop, step)
        if len(found) > MAX_LIST:
            refuse("E604", f"a range of {len(found):,} entries: {MAX_LIST:,} are the most", span)
        return list(found)

    def _call(self, expr: ast.Call) -> Any:
        if expr.name in INITS and expr.name not in FUNCTIONS:
            return self._init(expr)
        function = FUNCTIONS.get(expr.name)
        if function is None:
            guess = nearest(expr.name, [*FUNCTIONS, *INITS])
            refuse("E207", f"there is no function `{expr.name}`", expr.name_span, help=f"did you mean `{guess}`?" if guess else None)
        if any(a.name is not None for a in expr.args):
            refuse("E208", f"`{expr.name}` takes its arguments by position", expr.span)
        values = [self(a.value) for a in expr.args]
        try:
            result = function(self, expr, values)
        except (TypeError, ValueError, IndexError, OverflowError):
            shown = ", ".join(show(v) for v in values)
            refuse("E208", f"`{expr.name}` cannot be applied to ({shown})", expr.span, help=_USAGE.get(expr.name))
        return self._sane(result, expr)

    def _init(self, expr: ast.Call) -> Init:
        _, names = INITS[expr.name]
        given: dict[str, Any] = {}
        for i, arg in enumerate(expr.args):
            if arg.name is None and i >= len(names):
                refuse("E208", f"`{expr.name}` takes {len(names)} arguments", arg.span)
            name = arg.name or names[i]
            if name not in names:
                takes = ", ".join(f"`{n}`" for n in names) or "no arguments"
                refuse("E208", f"`{expr.name}` has no argument `{name}`", arg.span, f"it takes {takes}")
            value = self(arg.value)
            text = name in ("mode", "nonlinearity")
            if isinstance(value, bool) or not isinstance(value, str if text else int | float):
                refuse("E208", f"`{name}` must be a {'word' if text else 'number'}, but is {show(value)}", arg.span)
            if text and value not in _INIT_WORDS[name]:
                refuse("E208", f"`{name}` must be one of {', '.join(_INIT_WORDS[name])}", arg.span)
            given[name] = value
        return Init(expr.name, tuple(given.items()))


_INIT_WORDS = {
    "mode": ("fan_in", "fan_out"),
    "nonlinearity": ("relu", "leaky_relu", "linear", "sigmoid", "tanh", "selu"),
}


def _brackets(index: tuple[int, ...]) -> str:
    return "".join(f"[{i}]" for i in index)


def _plain(value: Any) -> Any:
    return value.block if isinstance(value, BlockValue) else value


def show(value: Any) -> str:
    """A value as a message shows it."""
    if isinstance(value, ValueRef):
        return f"a value of the network (`{value.name}`)"
    if isinstance(value, BlockValue):
        return f"the block `{value}`"
    if isinstance(value, OpValue):
        return f"the op `{value}`"
    if isinstance(value, Family):
        return f"the indexed name `{value.name}`"
    return describe(value)


def shape_property(shape: Shape, name: str, span: Span) -> Any:
    """``channels``, ``height``, … of a shape; refuses what the shape does not have."""
    axes = {"width": 1, "height": 2, "depth": 3, "length": 1}
    if name == "shape":
        return shape
    if name in ("channels", "features"):
        return shape.channels
    if name == "rank":
        return shape.rank
    if name == "numel":
        return shape.numel
    if name in axes:
        back = axes[name]
        if shape.rank < back:
            refuse("E206", f"a value of shape {shape} has no {name}", span)
        return shape[-back]
    known = ["channels", "height", "width", "depth", "length", "shape", "features", "rank", "numel"]
    guess = nearest(name, known)
    refuse(
        "E206",
        f"a value has no property `{name}`",
        span,
        help=f"did you mean `{guess}`?" if guess else "it has channels, height, width, depth, length, rank, numel and shape",
    )


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


def round_to_divisor(value: float, divisor: int) -> int:
    """The multiple of ``divisor`` nearest to ``value``, at least ``divisor`` and never more than 10 % below ``value``.

    The rule of the MobileNet code (Howard et al. 2017; Sandler et al. 2018): ``max(d, int(v + d/2) // d * d)``.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def _numbers(values: list[Any]) -> list[Any]:
    flat = values[0] if len(values) == 1 and isinstance(values[0], list | tuple) else values
    if not flat or any(isinstance(v, bool) or not isinstance(v, int | float) for v in flat):
        raise TypeError
    return list(flat)


def _one(values: list[Any]) -> Any:
    (value,) = values
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return value


def _round(values: list[Any]) -> Any:
    if len(values) == 2:
        if type(values[1]) is not int:
            raise TypeError
        return round(values[0], values[1])
    return round(_one(values))


def _length(values: list[Any]) -> int:
    (value,) = values
    if not isinstance(value, list | tuple | str):
        raise TypeError
    return len(value)


def _divisible(values: list[Any]) -> int:
    value, divisor = values if len(values) == 2 else (values[0], 8)
    if type(divisor) is not int or divisor < 1:
        raise ValueError
    return round_to_divisor(_one([value]), divisor)


def _range_call(evaluate: Evaluator, expr: ast.Call, values: list[Any]) -> list[int]:
    if not 1 <= len(values) <= 3 or any(type(v) is not int for v in values):
        raise TypeError
    start, stop = (0, values[0]) if len(values) == 1 else values[:2]
    return evaluate._span_of(start, stop, values[2] if len(values) == 3 else 1, expr.span)


#: The functions of the language: name -> (evaluator, call, values) -> value.
FUNCTIONS: Mapping[str, Callable[[Evaluator, ast.Call, list[Any]], Any]] = {
    "min": lambda e, x, v: min(_numbers(v)),
    "max": lambda e, x, v: max(_numbers(v)),
    "sum": lambda e, x, v: sum(_numbers(v)) if v != [[]] else 0,
    "abs": lambda e, x, v: abs(_one(v)),
    "round": lambda e, x, v: _round(v),
    "floor": lambda e, x, v: math.floor(_one(v)),
    "ceil": lambda e, x, v: math.ceil(_one(v)),
    "len": lambda e, x, v: _length(v),
    "range": _range_call,
    "divisible": lambda e, x, v: _divisible(v),
}

_USAGE = {
    "divisible": "divisible(value, divisor): the multiple of the divisor nearest to the value",
    "range": "range(end), range(start, end) or range(start, end, step), all whole numbers",
    "len": "len(list)",
    "round": "round(number), or round(number, digits)",
}

_RULES: Mapping[type, Callable[[Evaluator, Any], Any]] = {
    ast.String: Evaluator._literal,
    ast.Boolean: Evaluator._literal,
    ast.SizeLiteral: Evaluator._size,
    ast.Name: Evaluator._name,
    ast.ListLiteral: Evaluator._list,
    ast.Unary: Evaluator._unary,
    ast.Binary: Evaluator._binary,
    ast.Choose: Evaluator._choose,
    ast.Call: Evaluator._call,
    ast.Index: Evaluator._index,
    ast.Attribute: Evaluator._attribute,
    ast.Range: Evaluator._range,
}

__all__ = [
    "KINDS",
    "SYMBOLS",
    "Binding",
    "BlockValue",
    "Evaluator",
    "Family",
    "Frame",
    "OpValue",
    "Poisoned",
    "Refusal",
    "ValueRef",
    "nearest",
    "refuse",
    "show",
]
