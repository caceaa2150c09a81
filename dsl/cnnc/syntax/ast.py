"""The tree of a `.cnn` file. Plain values with places; no meaning yet.

Expressions, statements and definitions are records; ``span`` is the place of the whole, and what can be blamed on its own
(an argument, a name) has a span of its own.
"""

from __future__ import annotations

from cnnc.record import record
from cnnc.source import Source, Span

#: The largest whole number of the language.
MAX_INTEGER = 2**63 - 1

# ------------------------------------------------------------------------------------------------------------------ expressions


@record
class Number:
    """An integer or a float; ``62_378_344``, ``1e-4``, ``4.1G``."""

    value: int | float
    span: Span


@record
class String:
    """A quoted string, escapes resolved."""

    value: str
    span: Span


@record
class Boolean:
    """``true`` or ``false``."""

    value: bool
    span: Span


@record
class SizeLiteral:
    """``3x3``, ``3x227x227``, or with computed parts ``(2*width)x28x28``."""

    parts: tuple[Expr, ...]
    span: Span


@record
class Name:
    """A name: a parameter, a constant, a value, a block, or an option such as ``same``."""

    id: str
    span: Span


@record
class ListLiteral:
    """``[3, 4, 6, 3]`` or a tuple ``(0, 1)``."""

    items: tuple[Expr, ...]
    span: Span


@record
class Unary:
    """``-x``, ``+x``, ``not x``."""

    op: str
    operand: Expr
    span: Span


@record
class Binary:
    """Arithmetic, a comparison, ``and`` or ``or``."""

    op: str
    left: Expr
    right: Expr
    span: Span


@record
class Choose:
    """``then if condition else other``."""

    condition: Expr
    then: Expr
    other: Expr
    span: Span


@record
class Call:
    """A function or an initialiser: ``divisible(v, 8)``, ``normal(std=0.01)``."""

    name: str
    args: tuple[Arg, ...]
    span: Span
    name_span: Span


@record
class Index:
    """``list[i]`` or ``skip[i]``."""

    base: Expr
    index: Expr
    span: Span


@record
class Attribute:
    """``in.channels``, ``conv1.shape``."""

    base: Expr
    name: str
    span: Span


@record
class Range:
    """``a..b`` (b excluded), ``a..b by c``; only after ``for … in``."""

    start: Expr
    stop: Expr
    step: Expr | None
    span: Span


@record
class Broken:
    """What could not be read and was reported: an expression, a statement or a definition.

    ``names`` are the words in its text, some of which it would have bound; nothing else is blamed for them.
    """

    names: tuple[str, ...]
    span: Span


Expr = Number | String | Boolean | SizeLiteral | Name | ListLiteral | Unary | Binary | Choose | Call | Index | Attribute | Range | Broken


@record
class Arg:
    """One argument of a call; ``name`` is None for a positional one."""

    name: str | None
    value: Expr
    span: Span


# ------------------------------------------------------------------------------------------------------------------- statements


@record
class Target:
    """A name that a statement binds, or a use of one as a stage: ``conv1``, ``stage[i]``, ``in``."""

    name: str
    indices: tuple[Expr, ...]
    span: Span


@record
class Apply:
    """A stage with a name: an op, a block, a module, a value to start from; with a body, a merge."""

    target: Target
    args: tuple[Arg, ...] | None
    body: Body | None
    span: Span


@record
class Body:
    """``{ … }``: statements."""

    statements: tuple[Statement, ...]
    span: Span


Stage = Apply | Body


@record
class Flow:
    """A pipeline, perhaps with names for its results and a shape that must hold."""

    stages: tuple[Stage, ...]
    targets: tuple[Target, ...]
    shape: Expr | None
    span: Span


@record
class Input:
    """``input name: shape``."""

    name: str
    shape: Expr
    span: Span
    name_span: Span


@record
class Output:
    """``output name: shape = pipeline``; without a pipeline the flow, or the value of that name, is the output."""

    name: str
    shape: Expr | None
    stages: tuple[Stage, ...] | None
    span: Span
    name_span: Span


@record
class Head:
    """``head name(weight=0.3) { … }``."""

    name: str
    args: tuple[Arg, ...]
    body: Body
    span: Span
    name_span: Span


@record
class Let:
    """``let n = expr``."""

    name: str
    value: Expr
    span: Span
    name_span: Span


@record
class Module:
    """``module f = Block(…)``."""

    name: str
    target: Target
    args: tuple[Arg, ...]
    span: Span
    name_span: Span


@record
class Default:
    """``default conv(pad=same)``."""

    op: str
    args: tuple[Arg, ...]
    span: Span
    op_span: Span


@record
class Expect:
    """``expect params == 62_378_344``."""

    condition: Expr
    span: Span


@record
class If:
    """``if … { … } else { … }``; ``else if`` nests."""

    condition: Expr
    then: Body
    other: Body | If | None
    span: Span


@record
class For:
    """``for v in …``, ``for i, v in …``, ``for i, (a, b) in …``; ``repeat n`` has no targets and a count as ``iterable``.

    ``places`` says where each name of ``targets`` stands.
    """

    targets: tuple[tuple[str, ...], ...]
    iterable: Expr
    body: Body
    span: Span
    repeat: bool = False
    places: tuple[tuple[Span, ...], ...] = ()


@record
class Reserved:
    """A construct whose words are reserved and that this version does not compile: placement and training."""

    word: str
    span: Span
    body: Body | None = None


Statement = Flow | Input | Output | Head | Let | Module | Default | Expect | If | For | Reserved | Broken


# ------------------------------------------------------------------------------------------------------------------ definitions


@record
class Param:
    """A parameter of a network or a block."""

    name: str
    default: Expr | None
    span: Span


@record
class Network:
    """``network Name(params) { … }``."""

    name: str
    params: tuple[Param, ...]
    body: Body
    span: Span
    name_span: Span


@record
class Variant:
    """``network ResNet50 = ResNet(Bottleneck, [3, 4, 6, 3])``."""

    name: str
    base: str
    args: tuple[Arg, ...]
    span: Span
    name_span: Span
    base_span: Span


@record
class Block:
    """``block Name(params) { … }``."""

    name: str
    params: tuple[Param, ...]
    body: Body
    span: Span
    name_span: Span


@record
class Import:
    """``from "file.cnn" import Name`` or ``from std.residual import Name as Other``."""

    module: str
    dotted: bool
    names: tuple[tuple[str, str, Span], ...]
    span: Span
    module_span: Span


@record
class Comment:
    """A comment with its ``#``."""

    text: str
    span: Span


Item = Network | Variant | Block | Import | Let | Reserved | Broken


@record
class File:
    """A whole file. ``edition`` is None when the file does not say."""

    source: Source
    edition: int | None
    edition_span: Span | None
    items: tuple[Item, ...]
    comments: tuple[Comment, ...] = ()
