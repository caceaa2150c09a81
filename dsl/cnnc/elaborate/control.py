"""Conditions and loops, which run once, while the network is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cnnc.elaborate.arguments import counted
from cnnc.elaborate.builder import MAX_STEPS, Builder
from cnnc.elaborate.values import POISON, Binding, refuse, show
from cnnc.graph import Ref, Scope
from cnnc.shapes import Shape
from cnnc.source import Span
from cnnc.syntax import ast


def run_if(b: Builder, statement: ast.If, flow: Ref | None) -> Ref | None:
    """The flow after the side that holds."""
    return choose(b, statement, flow)


def choose(b: Builder, statement: ast.If, flow: Ref | None, branch: bool = False) -> Ref | None:
    """Run the side of an ``if`` that holds; in a merge (``branch``) a side that is not there gives None."""
    truth = b.evaluate.truth(statement.condition)
    place = b.place
    side = statement.then if truth else statement.other
    scope = b.scope("if", place.scope.path, statement, flow)
    scope.taken = 0 if truth else 1 if statement.other is not None else None
    counters = place.naming.counters
    before = dict(counters)
    inner = place.inner(scope, place.frame.nested())
    result = None if branch else flow
    if isinstance(side, ast.If):
        result = b.within(inner, choose, b, side, flow, branch)
    elif side is not None:
        result = b.body(side, inner, flow)
    scope.result = result
    # The numbers of the side that was not taken stay free, so that later layers keep their names whichever side it is.
    unused = statement.other if truth else statement.then
    if unused is not None:
        for base, count in b.outline.unnamed(unused).items():
            counters[base] = max(counters.get(base, 0), before.get(base, 0) + count)
    return result


def run_for(b: Builder, statement: ast.For, flow: Ref | None) -> Ref | None:
    """The flow after the last turn."""
    result = flow
    for left in turns(b, statement, flow):
        result = left
    return result


def turns(b: Builder, statement: ast.For, flow: Ref | None, branches: bool = False) -> Iterator[Ref | None]:
    """Run a loop; the flow after each turn. With ``branches`` every turn starts from the same flow."""
    place = b.place
    values = _values(b, statement)
    named = _names(b, statement)
    loop = b.scope("loop", place.scope.path, statement, flow)
    start = flow
    for index, bindings in enumerate(values):
        b.step(statement.span)
        turn = Scope("turn", place.scope.path, loop, statement.span, statement, bindings=bindings, index=index)
        loop.items.append(turn)
        frame = place.frame.nested()
        for name, (span, free) in named.items():
            frame.names[name] = Binding(bindings[name] if free else POISON, span, "loop variable")
        arriving = start if branches else flow
        turn.inputs = () if arriving is None else (arriving,)
        flow = b.body(statement.body, place.inner(turn, frame, suffix=f"{place.suffix}[{index}]"), arriving)
        turn.result = loop.result = flow
        yield flow
    if loop.result is None:
        loop.result = flow


def _places(statement: ast.For) -> Iterator[tuple[str, Span]]:
    spans = statement.places or tuple((statement.span,) * len(names) for names in statement.targets)
    for names, places in zip(statement.targets, spans, strict=True):
        yield from zip(names, places, strict=True)


def _names(b: Builder, statement: ast.For) -> dict[str, tuple[Span, bool]]:
    """The loop's variables, and whether each can be bound; a problem is kept for those that cannot."""
    found: dict[str, tuple[Span, bool]] = {}
    for name, span in _places(statement):
        if name in found:
            refuse("E203", f"`{name}` stands twice among the loop's names", span, "choose another name")
        found[name] = span, b.claim_name(name, span)
    return found


def _values(b: Builder, statement: ast.For) -> Iterator[dict[str, Any]]:
    """The values of the loop's variables, turn by turn."""
    place = statement.iterable.span
    if statement.repeat:
        count = b.evaluate.whole(statement.iterable, "the count of a `repeat`")
        if count < 0:
            refuse("E218", f"`repeat` needs a count of at least 0, but this is {count}", place, f"this is {count}")
        if count > MAX_STEPS:
            refuse("E605", f"`repeat {count:,}` is too large: a network may run {MAX_STEPS:,} statements", place)
        return ({} for _ in range(count))
    values = b.evaluate(statement.iterable)
    if not isinstance(values, list | Shape):
        help = "write `repeat n { … }`, or a range: `0..n`" if isinstance(values, int) else None
        refuse("E211", f"`for` goes over a list or a range, but this is {show(values)}", place, f"this is {show(values)}", help=help)
    targets = statement.targets
    if len(targets) > 2:
        span = next(span for name, span in _places(statement) if name == targets[2][0])
        refuse(
            "E217",
            "`for` takes one name, or an index and a name",
            span,
            "one too many",
            help="take an entry apart with `for i, (a, b) in …`",
        )
    if len(targets) == 2 and len(targets[0]) != 1:
        refuse("E217", "the first name of `for i, v` is the index, which is one number", next(_places(statement))[1])
    names = targets[-1]
    if len(names) > 1:
        for index, value in enumerate(values):
            if not isinstance(value, list | Shape) or len(value) != len(names):
                size = counted(len(value), "number") if isinstance(value, list | Shape) else show(value)
                refuse(
                    "E217", f"{len(names)} names for {size} in turn {index}", _entry(statement.iterable, index), f"this is {show(value)}"
                )
    return _turns_of(targets, values)


def _turns_of(targets: tuple[tuple[str, ...], ...], values: list[Any] | Shape) -> Iterator[dict[str, Any]]:
    names = targets[-1]
    for index, value in enumerate(values):
        turn: dict[str, Any] = {targets[0][0]: index} if len(targets) == 2 else {}
        if len(names) == 1:
            turn[names[0]] = value
        else:
            turn.update(zip(names, value, strict=True))
        yield turn


def _entry(iterable: ast.Expr, index: int) -> Span:
    """The place of an entry, where the list is written out."""
    return iterable.items[index].span if isinstance(iterable, ast.ListLiteral) else iterable.span
