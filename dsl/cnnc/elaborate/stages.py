"""Pipelines: what each stage does with the flow, which layer has a pipeline's name, and merges."""

from __future__ import annotations

from typing import Any, Never

from cnnc.diagnostics.model import Diagnostic, Label
from cnnc.elaborate import blocks
from cnnc.elaborate.blocks import Shared
from cnnc.elaborate.builder import Builder, refuse_head
from cnnc.elaborate.control import choose, turns
from cnnc.elaborate.functions import USAGE
from cnnc.elaborate.names import KEYWORDS, Naming
from cnnc.elaborate.values import OPS, BlockValue, Family, OpValue, Poisoned, Refusal, ValueRef, did_you_mean, refuse, show
from cnnc.graph import Ref
from cnnc.layers import Layer, Merge
from cnnc.syntax import ast

#: What the name of a pipeline names (see :func:`_plan`).
VALUE, SCOPE, INSTANCE, OP = "value", "scope", "instance", "op"


def pipeline(b: Builder, stages: tuple[ast.Stage, ...], flow: Ref | None) -> Ref | None:
    """Send the flow through stages that have no name."""
    first = True
    for stage in stages:
        b.flow = flow
        flow = _stage(b, stage, flow, first, None)
        first = False
    return flow


def named(b: Builder, statement: ast.Flow | ast.Output, stages: tuple[ast.Stage, ...], name: str, shown: str, flow: Ref | None) -> Ref:
    """Send the flow through a pipeline that has a name.

    Where the name belongs to one layer, that layer has it: the only op; among several plain ops the only one with parameters, else the
    only pooling, else the first. Otherwise the name is a scope around the layers.
    """
    how, owner = _plan(b, stages)
    place = b.place
    result: Ref | None = flow
    if how == VALUE:
        result = pipeline(b, stages, flow)
    elif how == SCOPE:
        path = place.naming.take(shown)
        scope = b.scope("body", path, statement, flow)
        inner = b.named_place(path, scope, place.frame.nested(), place.inlet)
        result = scope.result = b.within(inner, pipeline, b, stages, flow)
    else:
        path = place.naming.take(shown)
        # The other layers of an op's pipeline are named below it.
        others = place if how == INSTANCE else place.inner(place.scope, place.frame, top=place.top)
        if how == OP:
            others.naming = Naming(path + ".")
        for position, stage in enumerate(stages):
            b.flow = result
            if position == owner:
                result = _stage(b, stage, result, position == 0, path)
            else:
                result = b.within(others, _stage, b, stage, result, position == 0, None)
    return b.needed(result, f"`{name}`", statement.span)


def _plan(b: Builder, stages: tuple[ast.Stage, ...]) -> tuple[str, int]:
    """What the name of a pipeline names: nothing new, a scope, one instance, or one op (at which position)."""
    ops: list[tuple[int, type[Layer]]] = []
    others: list[int] = []
    for position, stage in enumerate(stages):
        if isinstance(stage, ast.Body):
            others.append(position)
            continue
        found = _peek(b, stage.target)
        if isinstance(found, ValueRef):
            continue
        if isinstance(found, OpValue) and stage.body is None:
            ops.append((position, found.kind))
        else:
            others.append(position)
    if not ops and not others:
        return VALUE, 0
    if not ops and len(others) == 1:
        return INSTANCE, others[0]
    if others:
        return SCOPE, 0
    weighted = [p for p, kind in ops if kind.has_params()]
    if len(weighted) > 1:
        return SCOPE, 0
    pools = [p for p, kind in ops if kind.role == "pooling"]
    return OP, weighted[0] if weighted else pools[0] if len(pools) == 1 else ops[0][0]


def _peek(b: Builder, target: ast.Target) -> Any:
    """What a stage's name stands for, without complaint."""
    if target.name in ("in", "flow"):
        return ValueRef(None, None, target.name)
    binding = b.place.frame.find(target.name)
    if binding is not None:
        if isinstance(binding.value, Family):
            return ValueRef(None, None, target.name)
        if isinstance(binding.value, list) and binding.value:
            return binding.value[0]
        return binding.value
    kind = OPS.get(target.name)
    return None if kind is None else OpValue(kind)


def resolve(b: Builder, target: ast.Target) -> Any:
    """What a stage's name stands for: a value, a block, an op, a module; refuses an unknown one."""
    name = target.name
    binding = b.place.frame.find(name)
    if binding is not None and not target.indices:
        return binding.read()
    if binding is not None or name in ("in", "flow"):
        expr: ast.Expr = ast.Name(name, target.span)
        for index in target.indices:
            expr = ast.Index(expr, index, target.span)
        return b.evaluate(expr)
    kind = OPS.get(name)
    if kind is None:
        _unknown(b, target)
    if target.indices:
        refuse("E202", f"`{name}` is an op, which has no entries", target.span)
    return OpValue(kind)


def _unknown(b: Builder, target: ast.Target) -> Never:
    name = target.name
    if name in KEYWORDS:
        lone = {"else": "`else` stands on the line on which its `if` ends, or on the next"}
        refuse("E202", f"`{name}` is a word of the language, not a layer", target.span, help=lone.get(name))
    if name in b.unit.networks:
        refuse("E202", f"`{name}` is a network: only blocks can be used as stages", target.span, help="make it a `block` to use it here")
    if name in USAGE:
        refuse("E202", f"`{name}` is a function of numbers, not a layer", target.span)
    help = did_you_mean(name, [*OPS, *b.place.frame.visible()])
    refuse("E201", f"there is no op, block or value `{name}`", target.span, "unknown", help=help)


def _stage(b: Builder, stage: ast.Stage, flow: Ref | None, first: bool, path: str | None) -> Ref | None:
    """Apply one stage; ``path`` is its name when it has one."""
    if isinstance(stage, ast.Body):
        return _nested(b, stage, flow, path)
    found = resolve(b, stage.target)
    kind = type(found)
    if kind is OpValue:
        if issubclass(found.kind, Merge):
            return _merge(b, found.kind, stage, flow, path)
        if stage.body is not None:
            refuse("E202", f"`{found}` takes no body", stage.body.span, help="only `concat`, `add` and `mul` join the statements of a body")
        return _op(b, found.kind, stage, flow, path)
    if kind is BlockValue:
        if stage.body is not None:
            refuse("E202", f"the block `{found}` takes no body", stage.body.span)
        return blocks.instance(b, found, stage, flow, path)
    if kind is ValueRef:
        return _start(found, stage, first)
    if kind is Shared:
        if stage.args is not None or stage.body is not None:
            refuse("E202", f"`{found.name}` is a module, which has its arguments already", stage.span, help=f"write `{found.name}` alone")
        return blocks.use_shared(b, found, stage, flow)
    if isinstance(found, Family):
        known = next(iter(found.values), None)
        example = "".join(f"[{i}]" for i in known) if known else "[0]"
        refuse("E205", f"`{found.name}` is an indexed name: say which, as in `{found.name}{example}`", stage.span)
    refuse("E202", f"`{stage.target.name}` is {show(found)}, not a layer", stage.target.span)


def _start(found: ValueRef, stage: ast.Apply, first: bool) -> Ref | None:
    """A value as a stage: the flow starts from it."""
    name = stage.target.span.text
    if found.ref is None:
        refuse("E202", f"`{name}` is {show(found.shape)}, not a layer", stage.target.span)
    if stage.args is not None or stage.body is not None:
        refuse("E202", f"`{name}` is a value, so it takes no arguments", stage.span)
    if not first:
        help = "start a statement from it, or join it in `concat { … }` or `add { … }`"
        refuse("E202", f"`{name}` is a value: the flow cannot go into it", stage.span, help=help)
    refuse_head(found, stage.span)
    return found.ref


def _nested(b: Builder, body: ast.Body, flow: Ref | None, path: str | None) -> Ref | None:
    """A body as a stage: with a name it is a scope of its own, without one it is transparent."""
    place = b.place
    if path is None:
        return b.body(body, place.inner(place.scope, place.frame.nested(), top=False), flow)
    scope = b.scope("body", path, body, flow)
    scope.result = b.body(body, b.named_place(path, scope, place.frame.nested(open=False), place.inlet, body), flow)
    return scope.result


def _op(b: Builder, kind: type[Layer], stage: ast.Apply, flow: Ref | None, path: str | None) -> Ref:
    """One layer."""
    if flow is None:
        b.needed(flow, f"`{kind.keyword}` to work on", stage.span)
        raise Poisoned
    layer, extra, written = b.layer(kind, stage, stage.span)
    return b.add(layer, (flow, *extra) if extra else (flow,), stage.span, path, written)


# ------------------------------------------------------------------------------------------------------------------------ merges


def _merge(b: Builder, kind: type[Layer], stage: ast.Apply, flow: Ref | None, path: str | None) -> Ref | None:
    """The branches of a merge, joined."""
    keyword = kind.keyword
    if stage.args:
        refuse("E208", f"`{keyword}` takes no arguments", stage.args[0].span, "one too many")
    if stage.body is None:
        refuse(
            "E202", f"`{keyword}` joins branches: write them in braces", stage.span, help=f"for example `{keyword} {{ identity; relu }}`"
        )
    place = b.place
    scope = b.scope("merge", path or place.scope.path, stage, flow)
    inner = place.inner(scope, place.frame.nested(), top=False)
    if path is not None:
        inner.naming, inner.suffix = Naming(path + ".", b.outline.given(stage.body)), ""
    found = b.within(inner, _branches, b, stage.body, flow)
    if not found:
        label = "nothing to join"
        help = "every statement in its braces is a branch; `identity` is the flow as it came"
        refuse("E507", f"`{keyword}` has no branches", stage.span, label, help=help)
    if len(found) == 1:
        scope.result = found[0]
        return found[0]
    layer, _, _ = b.layer(kind, stage, stage.span)
    # The joining layer belongs to the merge's own scope, behind its branches.
    joined = place.inner(scope, place.frame, top=False)
    scope.result = b.within(joined, b.add, layer, tuple(found), stage.span, path, {})
    return scope.result


#: statements that are no branch of the merge that they stand in
_NO_BRANCH = (ast.Let, ast.Default, ast.Module, ast.Expect, ast.Head)


def _branches(b: Builder, body: ast.Body, flow: Ref | None) -> list[Ref]:
    """The results of a merge's branches, each starting from the same flow."""
    found: list[Ref] = []
    merge = b.place
    for statement in body.statements:
        if isinstance(statement, _NO_BRANCH):
            b.run_one(statement, flow)
            continue
        scope = b.scope("branch", merge.scope.path, statement, flow)
        inner = merge.inner(scope, merge.frame)
        if isinstance(statement, ast.If | ast.For):
            found.extend(b.within(inner, _conditional, b, statement, flow))
            continue
        result = b.within(inner, b.run_one, statement, flow)
        if result is None:
            b.report(Diagnostic("E210", "this branch has no value", Label(statement.span, "nothing flows here")))
            result = b.within(inner, b.hole, statement.span, ())
        found.append(result)
        scope.result = result
    return found


def _conditional(b: Builder, statement: ast.If | ast.For, flow: Ref | None) -> list[Ref]:
    """The branches that an ``if`` (none or one) or a ``for`` (one a turn) contributes."""
    b.step(statement.span)
    b.flow = flow
    try:
        if isinstance(statement, ast.For):
            return [ref for ref in turns(b, statement, flow, branches=True) if ref is not None]
        result = choose(b, statement, flow, branch=True)
        b.place.scope.result = result
        return [] if result is None else [result]
    except Refusal as refusal:
        b.report(refusal.diagnostic)
    except Poisoned:
        pass
    return [b.hole(statement.span, () if flow is None else (flow,))]
