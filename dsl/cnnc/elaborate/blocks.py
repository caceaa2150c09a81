"""Blocks: their instances, and modules, whose uses share their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnnc.diagnostics.model import Diagnostic, Label
from cnnc.elaborate.arguments import call_arguments
from cnnc.elaborate.builder import Builder, Place
from cnnc.elaborate.names import Naming, block_base
from cnnc.elaborate.values import Binding, BlockValue, Frame, ValueRef, refuse
from cnnc.graph import Ref, Scope
from cnnc.layers import Layer
from cnnc.source import Span
from cnnc.syntax import ast

#: How deeply blocks may use blocks.
MAX_DEPTH = 48


@dataclass(eq=False, slots=True)
class Call:
    """A block with its arguments: their values, and as written."""

    found: BlockValue
    values: Mapping[str, Any]
    written: Mapping[str, ast.Expr]


@dataclass(eq=False, slots=True)
class Made:
    """A layer that a ``module`` declares, with the values that it takes by name and its arguments as written."""

    layer: Layer
    extra: tuple[Ref, ...]
    written: Mapping[str, ast.Arg]


@dataclass(eq=False, slots=True)
class Shared:
    """An instance that ``module`` declares: what it is, where its layers are named, and its first use."""

    name: str
    path: str
    what: Call | Made
    statement: ast.Module
    uses: int = 0
    first: Scope | int | None = None

    def __str__(self) -> str:
        return f"the module `{self.name}`"


def call(b: Builder, found: BlockValue, args: tuple[ast.Arg, ...], span: Span) -> Call:
    """A block's arguments, those that are left out from their defaults."""
    block = found.block
    written = call_arguments(f"the block `{block.name}`", block.params, args, span)
    values: dict[str, Any] = {}
    for name, arg in written.items():
        value = values[name] = b.evaluate(arg.value)
        if isinstance(value, ValueRef):
            help = "a block's input is what flows into it: `in`"
            refuse("E209", "a block takes numbers, blocks and options, not values of the network", arg.span, help=help)
    home = Frame(found.home)
    place = Place(home, b.place.scope, b.place.naming)
    for param in block.params:
        if param.name not in values and param.default is not None:
            values[param.name] = b.within(place, b.evaluate, param.default)
        home.names[param.name] = Binding(values[param.name], param.span, "parameter")
    return Call(found, values, {n: a.value for n, a in written.items()})


def instance(b: Builder, found: BlockValue, stage: ast.Apply, flow: Ref | None, path: str | None) -> Ref | None:
    """Apply a block, under its own name or the next free one."""
    flow = b.needed(flow, f"`{found.block.name}` to work on", stage.span)
    made = call(b, found, stage.args or (), stage.span)
    own = path or b.place.naming.next(block_base(found.block.name))
    return _enter(b, made, own, stage, stage.span, flow).result


def _enter(b: Builder, made: Call, path: str, origin: ast.Apply | ast.Module, span: Span, flow: Ref, shares: Scope | None = None) -> Scope:
    """Run a block's body as an instance named ``path``."""
    found, block = made.found, made.found.block
    if block in b.active:
        chain = " -> ".join(f"`{u.name}`" for u in [*b.active[b.active.index(block) :], block])
        refuse("E508", f"the block `{block.name}` uses itself: {chain}", span, "blocks may not recurse")
    if len(b.active) >= MAX_DEPTH:
        refuse("E603", f"blocks stand inside each other more than {MAX_DEPTH} deep", span)
    frame = Frame(found.home)
    for param in block.params:
        frame.names[param.name] = Binding(made.values.get(param.name), param.span, "parameter")
    scope = b.scope("block", path, origin, flow, span=span)
    scope.bindings.update(made.values)
    scope.block = block
    scope.arguments = made.written
    scope.shares = shares
    scope.home = found.home
    naming = Naming(path + ".", b.outline.given(block.body))
    b.active.append(block)
    try:
        scope.result = b.body(block.body, Place(frame, scope, naming, "", flow), flow)
    finally:
        b.active.pop()
    return scope


def use_shared(b: Builder, shared: Shared, stage: ast.Apply, flow: Ref | None) -> Ref | None:
    """Apply a module; every use after the first shares the weights of the first."""
    flow = b.needed(flow, f"`{shared.name}` to work on", stage.span)
    shared.uses += 1
    path = shared.path if shared.uses == 1 else f"{shared.path}@{shared.uses}"
    what = shared.what
    if isinstance(what, Made):
        first = shared.first if isinstance(shared.first, int) else None
        result = b.add(what.layer, (flow, *what.extra), stage.span, path, what.written, first, shared=True)
        if first is None:
            shared.first = result.node
        else:
            _same_weights(b, shared, first, result.node, stage)
        return result
    before = shared.first if isinstance(shared.first, Scope) else None
    scope = _enter(b, what, path, shared.statement, stage.span, flow, before)
    scope.shared = True
    if before is None:
        shared.first = scope
        return scope.result
    old, new = _nodes_in(before), _nodes_in(scope)
    alike = True
    for a, c in zip(old, new, strict=False):
        b.nodes[c].shares = a
        alike = _same_weights(b, shared, a, c, stage)
        if not alike:
            break
    if alike and len(old) != len(new):
        _refuse_sharing(b, shared, f"its first use has {len(old)} layers, this one {len(new)}", stage, before.span)
    return scope.result


def _same_weights(b: Builder, shared: Shared, before: int, after: int, stage: ast.Apply) -> bool:
    """Whether two layers can have the same weights; a problem is kept when they cannot."""
    first, again = b.nodes[before], b.nodes[after]
    a, c = b.arriving(first.inputs), b.arriving(again.inputs)
    if a is None or c is None or first.shapes is None or again.shapes is None:
        return True  # something else is wrong, and was reported
    if first.layer == again.layer and (
        not first.layer.has_params() or (a[0].channels == c[0].channels and first.layer.count_params(a) == again.layer.count_params(c))
    ):
        return True
    if first.layer == again.layer:
        _refuse_sharing(b, shared, f"{a[0]} arrived at `{first.path}` first, {c[0]} arrives now", stage, first.span)
    else:
        _refuse_sharing(b, shared, f"`{first.path}` of its first use is another layer than `{again.path}`", stage, first.span)
    return False


def _refuse_sharing(b: Builder, shared: Shared, why: str, stage: ast.Apply, first: Span) -> None:
    problem = Diagnostic(
        "E312",
        f"the module `{shared.name}` cannot share its weights: {why}",
        Label(stage.span, "used again here"),
        (Label(first, "first use"), Label(shared.statement.span, "declared here")),
        help="declare a second module, or bring both values to the same channels",
    )
    b.report(problem)


def _nodes_in(scope: Scope) -> list[int]:
    found: list[int] = []
    for item in scope.items:
        if isinstance(item, int):
            found.append(item)
        else:
            found.extend(_nodes_in(item))
    return found
