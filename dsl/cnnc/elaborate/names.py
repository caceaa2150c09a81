"""What things are called: which names may be bound, and the paths of layers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from cnnc.diagnostics.model import Diagnostic, Label
from cnnc.elaborate.values import OPS, POISON, Frame, Refusal, refuse
from cnnc.source import Span
from cnnc.syntax import ast

#: Words with a meaning of their own, which therefore name nothing else.
KEYWORDS = frozenset(
    """
    and default else exchange expect false flow for head if in input let module not on or output repeat towers train true
    """.split()
)


def check_name(name: str, span: Span, frame: Frame) -> None:
    """Refuse a name that is taken: by an op, by a word of the language, or by another name that can be seen."""
    if name in OPS:
        refuse("E203", f"`{name}` is the name of an op", span, "choose another name")
    if name in KEYWORDS:
        refuse("E203", f"`{name}` is a word of the language", span, "choose another name")
    other = frame.find(name)
    if other is not None and other.value is not POISON:
        refuse_taken(name, span, other.kind, other.span)


def refuse_taken(name: str, span: Span, kind: str, first: Span) -> None:
    """Say that a name names something else already."""
    article = "an" if kind[0] in "aeiou" else "a"
    headline = f"`{name}` is the name of {article} {kind} already"
    raise Refusal(Diagnostic("E203", headline, Label(span, "choose another name"), (Label(first, "defined here"),)))


def block_base(name: str) -> str:
    """What unnamed instances of a block are called: ``SqueezeExcite`` gives ``squeeze_excite``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


@dataclass(eq=False, slots=True)
class Naming:
    """Layer names inside one named scope: ``conv1``, ``conv2``, … and none twice.

    ``reserved`` are the names that the scope's own statements give, which unnamed layers leave free.
    """

    prefix: str
    reserved: frozenset[str] = frozenset()
    counters: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def next(self, base: str) -> str:
        """The path of the next unnamed layer of a kind."""
        counters = self.counters
        stem = base + "_" if base[-1].isdigit() else base
        while True:
            n = counters[base] = counters.get(base, 0) + 1
            name = f"{stem}{n}"
            if name not in self.used and name not in self.reserved:
                self.used.add(name)
                return self.prefix + name

    def take(self, name: str) -> str:
        """The path of a named thing."""
        free, n = name, 1
        while free in self.used:
            n += 1
            free = f"{name}_{n}"
        self.used.add(free)
        return self.prefix + free


class Outline:
    """What the text of a body says about the names in it, before it runs. Worked out once for each body."""

    def __init__(self) -> None:
        self._unnamed: dict[ast.Body, dict[str, int]] = {}
        self._given: dict[ast.Body, frozenset[str]] = {}

    def unnamed(self, body: ast.Body | ast.If) -> dict[str, int]:
        """How many unnamed layers of each kind a body has when every loop runs once and every condition takes its longest side."""
        if isinstance(body, ast.If):
            sides = [self.unnamed(body.then)]
            if body.other is not None:
                sides.append(self.unnamed(body.other))
            return {k: max(s.get(k, 0) for s in sides) for k in {k for s in sides for k in s}}
        known = self._unnamed.get(body)
        if known is None:
            known = {}
            for name, count in self._count(body):
                known[name] = known.get(name, 0) + count
            self._unnamed[body] = known
        return known

    def _count(self, body: ast.Body) -> Iterator[tuple[str, int]]:
        for statement in body.statements:
            if isinstance(statement, ast.If):
                yield from self.unnamed(statement).items()
            elif isinstance(statement, ast.For):
                yield from self.unnamed(statement.body).items()
            elif isinstance(statement, ast.Flow) and not statement.targets:
                for stage in statement.stages:
                    inner = stage if isinstance(stage, ast.Body) else stage.body
                    if isinstance(stage, ast.Apply):
                        name = stage.target.name
                        if name in OPS:
                            yield name, 1
                        elif stage.args is not None:
                            yield block_base(name), 1
                    if inner is not None:
                        yield from self.unnamed(inner).items()

    def given(self, body: ast.Body) -> frozenset[str]:
        """The names that a body gives in its own scope of paths: those in bodies of their own or with an index are not among them."""
        known = self._given.get(body)
        if known is None:
            known = self._given[body] = frozenset(name for name, indexed in bound_names(body, deep=False) if not indexed)
        return known


def bound_names(body: ast.Body, deep: bool = True) -> Iterator[tuple[str, bool]]:
    """The names that the statements of a body bind, and whether with an index; ``deep`` looks into bodies that have a name."""
    for statement in body.statements:
        match statement:
            case ast.Flow():
                yield from ((t.name, bool(t.indices)) for t in statement.targets)
                if deep or not statement.targets:
                    for stage in statement.stages:
                        inner = stage if isinstance(stage, ast.Body) else stage.body
                        if inner is not None:
                            yield from bound_names(inner, deep)
            case ast.Input() | ast.Output() | ast.Let() | ast.Module():
                yield statement.name, False
            case ast.Head():
                yield statement.name, False
                if deep:
                    yield from bound_names(statement.body)
            case ast.If():
                side: ast.Body | ast.If | None = statement
                while isinstance(side, ast.If):
                    yield from bound_names(side.then, deep)
                    side = side.other
                if side is not None:
                    yield from bound_names(side, deep)
            case ast.For():
                # In a loop a name carries the turn, so that it never meets a plain one.
                yield from ((name, True) for name, _ in bound_names(statement.body, deep))
            case ast.Reserved(body=ast.Body() as inside):
                yield from bound_names(inside, deep)
            case _:
                pass
