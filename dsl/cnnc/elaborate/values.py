"""Values of the language, the names they are bound to, and the problems of using them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Never

from cnnc.diagnostics.model import Diagnostic, Label
from cnnc.graph import Ref
from cnnc.layers import KINDS
from cnnc.layers.base import Layer, describe
from cnnc.layers.init import INITS
from cnnc.shapes import Shape
from cnnc.source import Span
from cnnc.syntax import ast

#: Words that stand for themselves where no such name is bound: the options of the operators' fields.
SYMBOLS = frozenset(
    """
    all area bicubic bilinear ceil channels circular constant exact floor linear nearest reflect replicate same trilinear valid zeros
    """.split()
)

#: The kinds of layers that a spec may name.
OPS: Mapping[str, type[Layer]] = {name: kind for name, kind in KINDS.items() if kind.role != "input"}


# ---------------------------------------------------------------------------------------------------------------------- problems


class Refusal(Exception):
    """A problem at a place; the statement that met it is given up, and what hangs on its value is skipped silently."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.headline)
        self.diagnostic = diagnostic


class Poisoned(Exception):
    """A value is needed whose making failed and was reported already."""


class Poison:
    """The value of a name whose making failed and was reported already."""


POISON = Poison()


def refuse(code: str, headline: str, span: Span, label: str = "", *, help: str | None = None, notes: tuple[str, ...] = ()) -> Never:
    """Give up with a problem."""
    raise Refusal(Diagnostic(code, headline, Label(span, label), help=help, notes=notes))


def too_deep(span: Span) -> Diagnostic:
    """The problem of a tree that Python's stack does not hold."""
    return Diagnostic("E601", "this nests too deeply", Label(span), help="give the parts names of their own, with `let` or as blocks")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    from difflib import get_close_matches

    lowered = {k.lower(): k for k in known}
    word = name.lower()
    found = get_close_matches(word, lowered, n=1, cutoff=0.65 if len(name) > 3 else 0.8)
    if not found:
        found = [k for k in lowered if len(k) > 2 and len(word) > 2 and (word.startswith(k) or k.startswith(word))]
    return lowered[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str | None:
    """The help for an unknown name."""
    guess = nearest(name, known)
    return f"did you mean `{guess}`?" if guess else otherwise


# ------------------------------------------------------------------------------------------------------------------------ values


@dataclass(frozen=True, slots=True)
class ValueRef:
    """A value of the flow, as an expression sees it: where it is and its shape (None: it failed).

    ``ref`` is None for a shape that stands on its own. ``head`` says that it exists only while training.
    """

    ref: Ref | None
    shape: Shape | None
    name: str
    head: bool = False


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


@dataclass(slots=True, eq=False)
class Family:
    """The values of an indexed name: ``skip[0]``, ``skip[1]``."""

    name: str
    values: dict[tuple[int, ...], ValueRef] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LetValue:
    """What a ``let`` bound, for the backends: the expression and its value."""

    expr: ast.Expr
    value: Any


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


def builtin(name: str) -> Any:
    """What a name means that nothing in the file binds: an option's word, an initialiser, an op; None for nothing."""
    if name in SYMBOLS or name in INITS:
        return name
    kind = OPS.get(name)
    return None if kind is None else OpValue(kind)


# ---------------------------------------------------------------------------------------------------------------------- bindings


@dataclass(slots=True)
class Binding:
    """A name's value, where it was bound, and what kind of thing it names."""

    value: Any
    span: Span
    kind: str

    def read(self) -> Any:
        """The value; raises Poisoned when its making failed."""
        if self.value is POISON:
            raise Poisoned
        return self.value


@dataclass(eq=False, slots=True)
class Frame:
    """The names of one body; ``parent`` is the body around it.

    ``open`` marks the bodies of loops, conditions, merges and nested bodies without a name: an indexed name that is bound there
    belongs to the body around.
    """

    parent: Frame | None = None
    names: dict[str, Binding] = field(default_factory=dict)
    open: bool = False
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

    @property
    def owner(self) -> Frame:
        """The frame that an indexed name bound here belongs to."""
        frame = self
        while frame.open and frame.parent is not None:
            frame = frame.parent
        return frame

    def nested(self, open: bool = True) -> Frame:
        """The frame of a body in this one, with the defaults of here."""
        return Frame(self, {}, open, self.defaults)

    def poison(self, name: str, span: Span, kind: str = "name") -> None:
        """Bind a name that nothing can be said about, unless it means something."""
        if name not in OPS and self.find(name) is None:
            self.names[name] = Binding(POISON, span, kind)

    def visible(self) -> Iterable[str]:
        """Every name that can be seen from here."""
        frame: Frame | None = self
        while frame is not None:
            yield from frame.names
            frame = frame.parent
