"""What each statement does with the flow; conditions, loops, pipelines and blocks are in modules of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cnnc.elaborate import blocks
from cnnc.elaborate.arguments import bind_defaults, counted
from cnnc.elaborate.blocks import Made, Shared
from cnnc.elaborate.builder import Builder, Expectation, refuse_head
from cnnc.elaborate.control import run_for, run_if
from cnnc.elaborate.files import refuse_reserved
from cnnc.elaborate.names import bound_names, refuse_taken
from cnnc.elaborate.stages import named, pipeline, resolve
from cnnc.elaborate.values import OPS, Binding, BlockValue, LetValue, OpValue, Refusal, ValueRef, did_you_mean, refuse, show
from cnnc.graph import Annotation, Node, Output, Ref
from cnnc.layers import Map
from cnnc.layers.input import Input
from cnnc.syntax import ast


def _flow(b: Builder, statement: ast.Flow, flow: Ref | None) -> Ref | None:
    targets = statement.targets
    if not targets:
        return pipeline(b, statement.stages, flow)
    if len(targets) > 1:
        return _split(b, statement, flow)
    claim = b.claim(targets[0])
    if claim is None:
        return pipeline(b, statement.stages, flow)
    result = named(b, statement, statement.stages, claim.shown, claim.path, flow)
    b.bind(claim, result)
    _annotate(b, statement.shape, result, claim.shown)
    return result


def _split(b: Builder, statement: ast.Flow, flow: Ref | None) -> Ref | None:
    """``a, b = …``: an op with several results binds several names, and the flow is the first."""
    targets = statement.targets
    result = pipeline(b, statement.stages, flow)
    if result is None:
        b.needed(result, f"`{targets[0].name}`", statement.span)
        return None
    node = b.nodes[result.node]
    if node.shapes is not None and len(node.shapes) != len(targets):
        refuse(
            "E217",
            f"{counted(len(targets), 'name')} for {counted(len(node.shapes), 'result')}",
            targets[0].span.to(targets[-1].span),
            f"`{node.op}` gives {len(node.shapes)}",
        )
    for port, target in enumerate(targets):
        claim = b.claim(target)
        if claim is not None:
            b.bind(claim, result if node.shapes is None else Ref(result.node, port))
    return result


def _annotate(b: Builder, expr: ast.Expr | None, ref: Ref, name: str) -> None:
    """Keep the shape that the spec states for a value; one that is no shape does not spoil the value."""
    if expr is not None:
        shape = b.attempt(b.shape, expr)
        if shape is not None:
            b.annotations.append(Annotation(ref, shape, expr.span, name, b.place.scope))


def _input(b: Builder, statement: ast.Input, flow: Ref | None) -> Ref | None:
    place = b.place
    if not place.top:
        refuse("E504", "`input` belongs in a network, not in a block or a nested body", statement.span, help="a block's input is `in`")
    free = b.claim_name(statement.name, statement.name_span)
    shape = b.shape(statement.shape)
    if statement.name in b.inputs:
        refuse("E203", f"there are two inputs `{statement.name}`", statement.name_span, "choose another name")
    b.inputs.append(statement.name)
    given = b.given_inputs.get(statement.name)
    if given is None and len(b.inputs) == 1:
        given = b.given_inputs.get(None)
    shape = given or shape
    path = place.naming.take(statement.name)
    layer = Input(dims=tuple(shape))
    ref = b.put(Node(len(b.nodes), path, layer, (), (shape,), place.scope, statement.span, name=statement.name))
    if free:
        place.frame.names[statement.name] = Binding(b.value(ref, statement.name), statement.name_span, "input")
        b.names[statement.name] = ref
    return ref if len(b.inputs) == 1 else None


def _output(b: Builder, statement: ast.Output, flow: Ref | None) -> Ref | None:
    place = b.place
    name, span = statement.name, statement.name_span
    if not place.top:
        refuse("E504", "`output` belongs in a network, not in a block or a nested body", statement.span)
    first = next((o for o in b.outputs if o.name == name), None)
    if first is not None:
        refuse_taken(name, span, "output", first.span)
    if statement.stages is None:
        binding = place.frame.find(name)
        value = None if binding is None else binding.read()
        if isinstance(value, ValueRef) and value.ref is not None:
            refuse_head(value, span)
            result = value.ref
        else:
            free = b.claim_name(name, span)
            result = b.needed(flow, f"the output `{name}`", statement.span)
            if free:
                place.frame.names[name] = Binding(b.value(result, name), span, "output")
    else:
        free = b.claim_name(name, span)
        result = named(b, statement, statement.stages, name, name + place.suffix, flow)
        if free:
            place.frame.names[name] = Binding(b.value(result, name), span, "output")
    b.names[name] = result
    _annotate(b, statement.shape, result, name)
    b.outputs.append(Output(name, result, statement.span))
    return result


def _head(b: Builder, statement: ast.Head, flow: Ref | None) -> Ref | None:
    place = b.place
    if not place.top:
        refuse("E504", "`head` belongs in a network, not in a block or a nested body", statement.span)
    start = b.needed(flow, f"the head `{statement.name}` to start from", statement.name_span)
    free = b.claim_name(statement.name, statement.name_span)
    weight = b.attempt(_weight, b, statement)
    path = place.naming.take(statement.name + place.suffix)
    scope = b.scope("head", path, statement, start, weight=weight)
    inner = b.named_place(path, scope, place.frame.nested(open=False), start, statement.body)
    problems = len(b.problems)
    scope.result = b.body(statement.body, inner, start)
    if scope.result == start and len(b.problems) == problems:
        refuse("E507", f"the head `{statement.name}` has no layers", statement.span, "nothing to train")
    b.heads.append(scope)
    if scope.result is not None and free:
        shape = b.value(scope.result, statement.name).shape
        value = ValueRef(scope.result, shape, statement.name, head=True)
        place.frame.names[statement.name] = Binding(value, statement.name_span, "head")
        b.names[statement.name] = scope.result
    return flow


def _weight(b: Builder, statement: ast.Head) -> float | None:
    """The number by which a head's loss is multiplied."""
    weight: float | None = None
    for position, arg in enumerate(statement.args):
        if position or arg.name not in (None, "weight"):
            refuse("E208", "a head takes one argument, `weight`", arg.span, "not known" if arg.name else "one too many")
        value = b.evaluate(arg.value)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            refuse("E209", f"the weight of a head is a number of at least 0, but this is {show(value)}", arg.span, f"this is {show(value)}")
        weight = float(value)
    return weight


def _let(b: Builder, statement: ast.Let, flow: Ref | None) -> Ref | None:
    free = b.claim_name(statement.name, statement.name_span)
    value = b.evaluate(statement.value)
    if free:
        b.place.frame.names[statement.name] = Binding(value, statement.name_span, "constant")
        b.place.scope.bindings[statement.name] = LetValue(statement.value, value)
    return flow


def _module(b: Builder, statement: ast.Module, flow: Ref | None) -> Ref | None:
    place = b.place
    free = b.claim_name(statement.name, statement.name_span)
    found = resolve(b, statement.target)
    what: blocks.Call | Made
    if isinstance(found, BlockValue):
        what = blocks.call(b, found, statement.args, statement.span)
    elif isinstance(found, OpValue) and issubclass(found.kind, Map):
        what = Made(*b.layer(found.kind, statement, statement.span))
    else:
        refuse("E202", f"a module is an instance of a block or of an op, but this is {show(found)}", statement.target.span)
    if free:
        shared = Shared(statement.name, place.naming.take(statement.name + place.suffix), what, statement)
        place.frame.names[statement.name] = Binding(shared, statement.name_span, "module")
    return flow


def _default(b: Builder, statement: ast.Default, flow: Ref | None) -> Ref | None:
    kind = OPS.get(statement.op)
    if kind is None:
        if b.place.frame.find(statement.op) is not None:
            help = "give its parameter a default where the block is defined"
            refuse("E201", f"a default is for an op, and `{statement.op}` is none", statement.op_span, "no op", help=help)
        refuse("E201", f"there is no op `{statement.op}`", statement.op_span, "unknown", help=did_you_mean(statement.op, OPS))
    fixed = bind_defaults(kind, statement.args)
    for arg in fixed.values():
        b.evaluate(arg.value)
    frame = b.place.frame
    frame.defaults = {**frame.defaults, statement.op: {**frame.defaults.get(statement.op, {}), **fixed}}
    return flow


def _expect(b: Builder, statement: ast.Expect, flow: Ref | None) -> Ref | None:
    condition = statement.condition
    if isinstance(condition, ast.Broken):
        return flow
    if not (isinstance(condition, ast.Binary) and condition.op in ("==", "!=", "<", "<=", ">", ">=")):
        help = "for example `expect params == 60_000`; for two facts write two lines"
        refuse("E401", "`expect` compares a fact with a number", condition.span, "no comparison", help=help)
    b.expectations.append(Expectation(condition, statement.span, b.place.frame, b.place.scope))
    return flow


def _reserved(b: Builder, statement: ast.Reserved, flow: Ref | None) -> Ref | None:
    try:
        refuse_reserved(statement)
    except Refusal as refusal:
        b.report(refusal.diagnostic)
    for name, _ in bound_names(statement.body) if statement.body is not None else ():
        b.place.frame.poison(name, statement.span)
    return b.hole(statement.span, () if flow is None else (flow,))


def _broken(b: Builder, statement: ast.Broken, flow: Ref | None) -> Ref | None:
    for name in statement.names:
        b.place.frame.poison(name, statement.span)
    first = statement.names[0] if statement.names else ""
    if first == "input":
        b.inputs.append("")
    if first in ("let", "module", "expect", "head"):
        return flow
    return b.hole(statement.span, () if flow is None else (flow,))


_STATEMENTS: Mapping[type, Callable[[Builder, Any, Ref | None], Ref | None]] = {
    ast.Flow: _flow,
    ast.Input: _input,
    ast.Output: _output,
    ast.Head: _head,
    ast.Let: _let,
    ast.Module: _module,
    ast.Default: _default,
    ast.Expect: _expect,
    ast.If: run_if,
    ast.For: run_for,
    ast.Reserved: _reserved,
    ast.Broken: _broken,
}


def run(b: Builder, statement: ast.Statement, flow: Ref | None) -> Ref | None:
    """Run one statement."""
    return _STATEMENTS[type(statement)](b, statement, flow)
