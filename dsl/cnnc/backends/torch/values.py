"""What the emitter knows while it writes: occurrences of a piece of the spec, parameters of a class, values of a forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cnnc.backends.torch import expressions as ex
from cnnc.elaborate.values import SYMBOLS
from cnnc.graph import Graph, Ref, Scope
from cnnc.shapes import Shape
from cnnc.syntax import ast


class Mismatch(Exception):
    """Occurrences of one definition differ in a way that one class cannot express."""


class Unsupported(Exception):
    """The network has something that this backend cannot express; carries the words and the scope to blame."""

    def __init__(self, message: str, scope: Scope) -> None:
        super().__init__(message)
        self.message = message
        self.scope = scope


class Inexpressible(Mismatch):
    """A number of the network's own class varies with an open parameter in a way that no expression says."""


@dataclass(slots=True, eq=False)
class Line:
    """A line of code with its depth; ``probed`` is the same with probes, ``comment`` goes behind it where there is room."""

    depth: int
    text: str
    probed: str
    comment: str = ""


@dataclass(slots=True, eq=False)
class Family:
    """The modules of an indexed name, and the line of the constructor that makes them."""

    name: str
    at: int
    rows: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Built:
    """A constructed instance.

    How to reach it, its result's channels, the values from around that its ``forward`` takes (beside what flows in, if it takes that),
    and the shared modules that it borrows.
    """

    access: str
    channels: ast.Expr | None
    captures: list[list[Ref]]
    borrowed: list[str] = field(default_factory=list)
    takes_input: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Occurrence:
    """One elaboration of a piece of the spec: the scope with its items, in its graph; ``owner`` counts the instances of the class."""

    graph: Graph
    scope: Scope
    owner: int

    def at(self, scope: Scope) -> Occurrence:
        """The same instance of the class, at a scope inside."""
        return Occurrence(self.graph, scope, self.owner)


@dataclass(slots=True, eq=False)
class Parameter:
    """A constructor argument: its value for every instance of the class, and the spec's parameter behind it."""

    name: str
    values: list[Any]
    spec: str | None = None
    default: Any = None
    has_default: bool = False
    #: what it is about, when the spec has no word for it
    hint: str | None = None


@dataclass(slots=True, eq=False)
class Value:
    """A value of a forward pass.

    ``channels`` is an expression over the names of the class; ``shapes`` are its shapes in every occurrence. Either ``variable`` holds
    it, or ``text`` (and ``probed``, the same text with probes) computes it and stands for it once.
    """

    shapes: list[Shape]
    channels: ast.Expr | None = None
    variable: str | None = None
    text: str = ""
    probed: str = ""
    infix: bool = False
    uses: int = 0
    #: the spec's name for it, and whether it is read again after the flow has gone on
    name: str | None = None
    keeps: bool = False

    def known(self) -> ast.Expr | None:
        """The channels: the expression, or the number where all occurrences agree."""
        if self.channels is not None:
            return self.channels
        counts = {s.channels for s in self.shapes}
        return ex.number(counts.pop()) if len(counts) == 1 else None


@dataclass(slots=True, eq=False)
class Context:
    """The occurrences that lines are written for at the moment, and the loop variables that they may use.

    Outside of loops there is an occurrence for each instance of the class; in a rolled loop there is one for each turn of each.
    """

    occurrences: list[Occurrence]
    variables: dict[str, list[Any]] = field(default_factory=dict)
    #: rolled loops: ast.For -> name in the spec -> name in Python
    loops: dict[int, dict[str, str]] = field(default_factory=dict)
    #: the class instance of each occurrence
    owners: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.owners = [o.owner for o in self.occurrences]


def plain(value: Any) -> bool:
    """Whether a value can stand in emitted code."""
    if isinstance(value, list | tuple):
        return all(plain(v) for v in value)
    return isinstance(value, bool | int | float | str)


def equal(a: Any, b: Any) -> bool:
    """Whether two values are the same argument: ``3`` and ``3x3`` are, ``1`` and ``true`` are not."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, tuple) and isinstance(b, int):
        return bool(a) and all(equal(x, b) for x in a)
    if isinstance(b, tuple) and isinstance(a, int):
        return equal(b, a)
    return isinstance(a, bool) is isinstance(b, bool) and bool(a == b)


def find(name: str, scope: Scope, boundary: Scope) -> tuple[Scope | None, bool, Any]:
    """Where a name is bound, seen from a scope; whether that is inside ``boundary`` (or at it); and its value."""
    at: Scope | None = scope
    inside = True
    home = None
    while at is not None:
        if name in at.bindings:
            return at, inside, at.bindings[name]
        home = home or at.home
        if at.kind in ("block", "network"):
            break  # a body sees no names of whoever uses it
        if at is boundary:
            inside = False
        at = at.parent
    binding = home.find(name) if home is not None else None
    if binding is not None:
        return None, False, binding.value
    return None, False, name if name in SYMBOLS else None


Resolve = Callable[[str, list[Scope], Context], ast.Expr | None]


def translate(expr: ast.Expr, scopes: list[Scope], context: Context, resolve: Resolve) -> ast.Expr | None:
    """An expression of the spec over the names of the emitted class; None when it cannot be said there."""
    match expr:
        case ast.Name():
            return resolve(expr.id, scopes, context)
        case ast.Attribute(ast.Name("in"), "channels"):
            return resolve("in.channels", scopes, context)
        case ast.Attribute():
            return None
        case ast.Call() if expr.name not in FUNCTIONS_OF_PYTHON:
            return None
        case _:
            return ex.rebuild(expr, lambda child: translate(child, scopes, context, resolve))


#: Functions of the language that emitted code can call.
FUNCTIONS_OF_PYTHON = frozenset({"min", "max", "sum", "abs", "round", "floor", "ceil", "len", "range", "divisible"})
