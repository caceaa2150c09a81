"""A network of a file as a graph: its statements run once, in order, at compile time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cnnc.diagnostics.model import Diagnostic, Label
from cnnc.elaborate.builder import Builder, Enough, Expectation, Place
from cnnc.elaborate.files import Unit
from cnnc.elaborate.names import Naming
from cnnc.elaborate.statements import run
from cnnc.elaborate.values import Binding, Frame
from cnnc.graph import Graph, Output, Ref, Scope
from cnnc.shapes import Shape
from cnnc.syntax import ast


@dataclass(frozen=True)
class Built:
    """What elaboration gives: the graph as far as it could be built, the facts to hold, and the problems."""

    graph: Graph
    expectations: tuple[Expectation, ...]
    problems: tuple[Diagnostic, ...]


def build(
    definition: ast.Network,
    parameters: Mapping[str, Any],
    home: Unit,
    name: str,
    inputs: Mapping[str | None, Shape],
    vary: Callable[[Mapping[str, Any]], Graph | None] | None = None,
) -> Built:
    """Run the body of a network that stands in the file ``home``. ``parameters`` has a value for every parameter."""
    b = Builder(home, inputs, run)
    b.fed = _declares_input(definition.body)
    frame = Frame(home.frame)
    scope = Scope("network", "", None, definition.span, definition, bindings=dict(parameters), home=home.frame)
    for param in definition.params:
        frame.names[param.name] = Binding(parameters.get(param.name), param.span, "parameter")
    place = b.place = Place(frame, scope, Naming("", b.outline.given(definition.body)), top=True)
    flow: Ref | None = None
    with suppress(Enough):
        flow = b.body(definition.body, place, None)
    scope.result = flow
    if not b.outputs and flow is not None:
        b.outputs.append(Output(None, flow, b.nodes[flow.node].span))
    _check_inputs(b, definition)
    graph = Graph(
        name=name,
        nodes=tuple(b.nodes),
        root=scope,
        outputs=tuple(b.outputs),
        heads=tuple(b.heads),
        names=b.names,
        parameters=dict(parameters),
        definition=definition,
        annotations=tuple(b.annotations),
        value_names=b.value_names,
        vary=vary,
    )
    return Built(graph, tuple(b.expectations), tuple(b.problems))


def _declares_input(body: ast.Body) -> bool:
    """Whether a network's own statements declare an input, or may."""
    for statement in body.statements:
        match statement:
            case ast.Input() | ast.Broken():
                return True
            case ast.For() if _declares_input(statement.body):
                return True
            case ast.If():
                side: ast.Body | ast.If | None = statement
                while isinstance(side, ast.If):
                    if _declares_input(side.then):
                        return True
                    side = side.other
                if side is not None and _declares_input(side):
                    return True
    return False


def _check_inputs(b: Builder, definition: ast.Network) -> None:
    """A network without an input; shapes that were given for inputs that are not there."""
    at = Label(definition.name_span)
    if not b.fed or (not b.inputs and not b.problems):
        help = "start its body with `input image: 3x224x224`"
        b.report(Diagnostic("E505", f"the network `{definition.name}` has no input", at, help=help))
    for name in b.given_inputs:
        if name is not None and name not in b.inputs and not b.problems:
            has = f"its inputs: {', '.join(b.inputs)}"
            b.report(Diagnostic("E506", f"the network `{definition.name}` has no input `{name}` to give a shape to", at, help=has))
