"""A network of a file as a graph: statements run once, in order, at compile time.

Each statement of a body takes the flow and leaves its result as the new flow. Nothing here counts or judges the whole network; a
layer that refuses its input stays in the graph with its failure, and what hangs on it is skipped silently.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from cnnc.diagnostics.model import Diagnostic, Label
from cnnc.elaborate.files import Unit, check_name, refuse_reserved
from cnnc.elaborate.values import (
    FUNCTIONS,
    SYMBOLS,
    Binding,
    BlockValue,
    Evaluator,
    Family,
    Frame,
    OpValue,
    Poisoned,
    Refusal,
    ValueRef,
    nearest,
    refuse,
    show,
)
from cnnc.graph import Annotation, Graph, Node, Output, Ref, Scope
from cnnc.layers import KINDS, Layer, Map, Merge
from cnnc.layers.hole import Hole
from cnnc.layers.init import INITS
from cnnc.layers.input import Input
from cnnc.shapes import Shape, ShapeError
from cnnc.source import Span
from cnnc.syntax import ast

#: How many layers a network may have.
MAX_LAYERS = 250_000
#: How many statements may run while one network is built.
MAX_STEPS = 2_000_000
#: How deeply blocks may use blocks.
MAX_DEPTH = 48
#: The most numbers that one value may hold.
MAX_NUMEL = 2**48


@dataclass(frozen=True, slots=True)
class Expectation:
    """An ``expect`` with what its names mean; facts are known only later."""

    condition: ast.Expr
    span: Span
    frame: Frame
    scope: Scope


@dataclass(frozen=True)
class Built:
    """What elaboration gives: the graph as far as it could be built, the facts to hold, and the problems."""

    graph: Graph
    expectations: tuple[Expectation, ...]
    problems: tuple[Diagnostic, ...]


@dataclass(eq=False, slots=True)
class _Naming:
    """Layer names inside one named scope: ``conv1``, ``conv2``, … and none twice."""

    prefix: str
    counters: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def next(self, base: str) -> str:
        """The path of the next unnamed layer of a kind."""
        while True:
            n = self.counters[base] = self.counters.get(base, 0) + 1
            name = f"{base}{n}"
            if name not in self.used:
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


@dataclass(eq=False, slots=True)
class _Shared:
    """An instance that ``module`` declares: what it is, where its layers are named, and its first use."""

    name: str
    path: str
    target: BlockValue | OpValue
    args: Mapping[str, Any]
    written: Mapping[str, ast.Arg]
    span: Span
    uses: int = 0
    first: Scope | int | None = None


@dataclass(eq=False, slots=True)
class _Place:
    """Where statements run: the names, the scope, the layer names, and the turn of the loops around."""

    frame: Frame
    scope: Scope
    naming: _Naming
    suffix: str = ""
    inlet: Ref | None = None
    top: bool = False
    in_merge: bool = False


def block_base(name: str) -> str:
    """What unnamed instances of a block are called: ``SqueezeExcite`` gives ``squeeze_excite``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


class Builder:
    """Builds one network of a unit."""

    def __init__(self, unit: Unit, inputs: Mapping[str | None, Shape]) -> None:
        self.unit = unit
        self.given_inputs = dict(inputs)
        self.nodes: list[Node] = []
        self.problems: list[Diagnostic] = []
        self.outputs: list[Output] = []
        self.heads: list[Scope] = []
        self.annotations: list[Annotation] = []
        self.expectations: list[Expectation] = []
        self.names: dict[str, Ref] = {}
        self.value_names: dict[Ref, str] = {}
        self.steps = 0
        self._layers: dict[Any, Layer] = {}
        self._facts: dict[tuple[int, tuple[Shape, ...]], tuple[Shape, ...] | ShapeError] = {}
        self._active: list[ast.Block] = []
        self._inputs_seen: set[str] = set()
        self._input_count = 0
        self._place: _Place
        self._evaluate = Evaluator(self._lookup)
        self._static: dict[ast.Body, dict[str, int]] = {}
        self._plans: dict[ast.Flow | ast.Output, tuple[str, int]] = {}
        self._reported: set[tuple[str, int, int]] = set()

    # ------------------------------------------------------------------------------------------------------------ the network

    def build(
        self,
        definition: ast.Network,
        parameters: Mapping[str, Any],
        home: Unit,
        name: str,
        vary: Callable[[Mapping[str, Any]], Graph | None] | None = None,
    ) -> Built:
        """Run a network's body. ``parameters`` has a value for every parameter."""
        frame = Frame(home.frame)
        scope = Scope("network", "", None, definition.span, definition, bindings=dict(parameters), home=home.frame)
        for param in definition.params:
            with_name(self, param.name, param.span, frame)
            frame.names[param.name] = Binding(parameters.get(param.name), param.span, "parameter")
        place = _Place(frame, scope, _Naming(""), top=True)
        self._place = place
        flow: Ref | None = None
        try:
            flow = self._body(definition.body, place, None)
        except _Enough:
            pass
        scope.result = flow
        if not self.outputs and flow is not None:
            self.outputs.append(Output(None, flow, self.nodes[flow.node].span))
        self._check_inputs_given(definition)
        graph = Graph(
            name=name,
            nodes=tuple(self.nodes),
            root=scope,
            outputs=tuple(self.outputs),
            heads=tuple(self.heads),
            names=self.names,
            parameters=dict(parameters),
            definition=definition,
            annotations=tuple(self.annotations),
            value_names=self.value_names,
            vary=vary,
        )
        return Built(graph, tuple(self.expectations), tuple(self.problems))

    def _check_inputs_given(self, definition: ast.Network) -> None:
        if not self._input_count and not self.problems:
            self._report(
                Diagnostic(
                    "E505",
                    f"the network `{definition.name}` has no input",
                    Label(definition.name_span),
                    help="start its body with `input image: 3x224x224`",
                )
            )
        for name in self.given_inputs:
            if name is not None and name not in self._inputs_seen and not self.problems:
                self._report(
                    Diagnostic("E506", f"the network `{definition.name}` has no input `{name}` to give a shape to", Label(definition.name_span))
                )

    def _report(self, diagnostic: Diagnostic) -> None:
        """Keep a problem; one that a block or a loop shows again at the same place is the same mistake."""
        span = diagnostic.at.span
        key = (diagnostic.code, id(span.source) ^ span.start, span.end)
        if key in self._reported:
            return
        self._reported.add(key)
        self.problems.append(with_calls(diagnostic, self._place.scope) if hasattr(self, "_place") else diagnostic)

    # ------------------------------------------------------------------------------------------------------------------ bodies

    def _body(self, body: ast.Body, place: _Place, flow: Ref | None) -> Ref | None:
        outer, self._place = self._place, place
        run = self._statement
        try:
            for statement in body.statements:
                flow = run(statement, flow)
        finally:
            self._place = outer
        return flow

    def _step(self, span: Span) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS or len(self.nodes) > MAX_LAYERS:
            what = f"{MAX_STEPS:,} statements" if self.steps > MAX_STEPS else f"{MAX_LAYERS:,} layers"
            self._report(Diagnostic("E605", f"this network is too large: more than {what}", Label(span, "reached here")))
            raise _Enough

    def _statement(self, statement: ast.Statement, flow: Ref | None) -> Ref | None:
        """Run a statement; a problem is kept, and the flow goes on as a value whose making failed."""
        self._step(statement.span)
        self._statement_start = statement.span.start
        try:
            return _STATEMENTS[type(statement)](self, statement, flow)
        except Refusal as refusal:
            self._report(refusal.diagnostic)
        except Poisoned:
            pass
        except RecursionError:
            self._report(Diagnostic("E601", "this nests too deeply", Label(statement.span)))
        return self._failed(statement, flow)

    def _failed(self, statement: ast.Statement, flow: Ref | None) -> Ref | None:
        """The flow after a statement that could not be run: names are bound, so that nothing else is blamed for them."""
        if isinstance(statement, ast.Let):
            self._place.frame.names.setdefault(statement.name, Binding(_POISON, statement.name_span, "constant"))
            return flow
        if isinstance(statement, ast.Module):
            self._place.frame.names.setdefault(statement.name, Binding(_POISON, statement.name_span, "module"))
            return flow
        if isinstance(statement, ast.Head | ast.Default | ast.Expect | ast.Reserved):
            return flow
        hole = self._hole(statement.span, (flow,) if flow is not None else ())
        if isinstance(statement, ast.Input):
            self._input_count += 1
        for target in getattr(statement, "targets", ()):
            if isinstance(target, ast.Target):
                try:
                    self._bind(target, hole)
                except (Refusal, Poisoned):
                    continue
        if isinstance(statement, ast.Input | ast.Output):
            self._place.frame.names.setdefault(statement.name, Binding(self._value(hole, statement.name), statement.name_span, "value"))
        if isinstance(statement, ast.Output):
            self.outputs.append(Output(statement.name, hole, statement.span))
        return hole

    def _hole(self, span: Span, inputs: tuple[Ref, ...]) -> Ref:
        """A value whose making failed and was reported."""
        node = Node(len(self.nodes), self._place.naming.next("unknown"), Hole(), inputs, None, self._place.scope, span)
        self.nodes.append(node)
        self._place.scope.items.append(node.id)
        return Ref(node.id)

    # -------------------------------------------------------------------------------------------------------------------- names

    def _value(self, ref: Ref, name: str) -> ValueRef:
        shapes = self.nodes[ref.node].shapes
        return ValueRef(ref, None if shapes is None else shapes[ref.port], name)

    def _lookup(self, name: str, span: Span) -> Any:
        """What a name in an expression means."""
        place = self._place
        if name == "in" or name == "flow":
            ref = place.inlet if name == "in" else self._flow
            if ref is None:
                refuse("E204", f"`{name}` has no value here", span, "no value flows here" if name == "flow" else "only a block or a head has an input")
            return self._value(ref, name)
        binding = place.frame.find(name)
        if binding is not None:
            binding.used = True
            if binding.value is _POISON:
                raise Poisoned
            return binding.value
        if name in SYMBOLS or name in INITS:
            return name
        kind = KINDS.get(name)
        if kind is not None:
            return OpValue(kind)
        guess = nearest(name, [*place.frame.visible(), *SYMBOLS])
        if name in self.unit.networks:
            refuse("E204", f"`{name}` is a network: only blocks, values and numbers can be used here", span)
        refuse("E204", f"`{name}` is not defined", span, "not known here", help=f"did you mean `{guess}`?" if guess else None)

    _flow: Ref | None = None
    _statement_start = 0

    def _bind(self, target: ast.Target, ref: Ref) -> str:
        """Give a name to a value; the name as shown."""
        place = self._place
        value = self._value(ref, target.name)
        if not target.indices:
            check_name(target.name, target.span, place.frame)
            place.frame.names[target.name] = Binding(value, target.span, "value")
            shown = target.name
        else:
            frame = place.frame
            while frame.loop and frame.parent is not None:
                frame = frame.parent
            index = tuple(self._evaluate.whole(i, "an index") for i in target.indices)
            shown = target.name + "".join(f"[{i}]" for i in index)
            binding = frame.names.get(target.name)
            if binding is None:
                check_name(target.name, target.span, place.frame)
                binding = frame.names[target.name] = Binding(Family(target.name), target.span, "indexed name")
            if not isinstance(binding.value, Family):
                refuse("E203", f"`{target.name}` is bound already, without an index", target.span)
            if index in binding.value.values:
                refuse("E203", f"`{shown}` is bound twice", target.span, "an indexed name is bound once for each index")
            binding.value.values[index] = ValueRef(value.ref, value.shape, shown)
        if place.top and not place.suffix:
            self.names[shown] = ref
        self.value_names.setdefault(ref, shown)
        return shown

    def _path_name(self, target: ast.Target) -> str:
        """The name of a target in layer paths: with its indices, or in a loop with the turn."""
        if target.indices:
            return target.name + "".join(f"[{self._evaluate.whole(i, 'an index')}]" for i in target.indices)
        return target.name + self._place.suffix

    # --------------------------------------------------------------------------------------------------------------- statements

    def _run_flow(self, statement: ast.Flow, flow: Ref | None) -> Ref | None:
        targets = statement.targets
        if not targets:
            return self._pipeline(statement.stages, flow)
        if len(targets) > 1:
            return self._run_split(statement, flow)
        target = targets[0]
        if not target.indices:
            check_name(target.name, target.span, self._place.frame)
        result = self._named(statement, statement.stages, target.name, self._path_name(target), flow)
        shown = self._bind(target, result)
        if statement.shape is not None:
            self._annotate(statement.shape, result, shown)
        return result

    def _run_split(self, statement: ast.Flow, flow: Ref | None) -> Ref | None:
        for target in statement.targets:
            if not target.indices:
                check_name(target.name, target.span, self._place.frame)
        result = self._pipeline(statement.stages, flow)
        if result is None:
            return None
        node = self.nodes[result.node]
        count = len(statement.targets)
        if node.shapes is not None and len(node.shapes) != count:
            refuse(
                "E217",
                f"{count} names for {len(node.shapes)} result{'s' if len(node.shapes) != 1 else ''}",
                statement.targets[0].span.to(statement.targets[-1].span),
                f"`{node.op}` gives {len(node.shapes)}",
            )
        for port, target in enumerate(statement.targets):
            self._bind(target, Ref(result.node, port) if node.shapes is not None else result)
        return result

    def _annotate(self, expr: ast.Expr, ref: Ref, name: str) -> None:
        shape = self._shape(expr)
        self.annotations.append(Annotation(ref, shape, expr.span, name))

    def _shape(self, expr: ast.Expr) -> Shape:
        value = self._evaluate(expr)
        if isinstance(value, int) and not isinstance(value, bool):
            value = Shape((value,))
        if isinstance(value, list) and value and all(type(v) is int for v in value):
            value = Shape(value)
        if not isinstance(value, Shape):
            refuse("E216", f"a shape is written like 3x227x227, but this is {show(value)}", expr.span)
        if min(value) < 1:
            refuse("E216", f"every size of a shape must be at least 1, but this is {value}", expr.span)
        if value.numel > MAX_NUMEL:
            refuse("E602", f"a value of shape {value} is too large", expr.span)
        return value

    def _run_input(self, statement: ast.Input, flow: Ref | None) -> Ref | None:
        place = self._place
        if not place.top:
            refuse("E504", "`input` belongs in a network, not in a block or a nested body", statement.span, help="a block's input is `in`")
        check_name(statement.name, statement.name_span, place.frame)
        shape = self._shape(statement.shape)
        self._inputs_seen.add(statement.name)
        self._input_count += 1
        given = self.given_inputs.get(statement.name)
        if given is None and self._input_count == 1:
            given = self.given_inputs.get(None)
        shape = given or shape
        node = Node(
            len(self.nodes),
            place.naming.take(statement.name),
            Input(dims=tuple(shape)),
            (),
            (shape,),
            place.scope,
            statement.span,
            name=statement.name,
        )
        self.nodes.append(node)
        place.scope.items.append(node.id)
        ref = Ref(node.id)
        place.frame.names[statement.name] = Binding(self._value(ref, statement.name), statement.name_span, "input")
        self.names[statement.name] = ref
        return ref if self._input_count == 1 else None

    def _run_output(self, statement: ast.Output, flow: Ref | None) -> Ref | None:
        place = self._place
        if not place.top:
            refuse("E504", "`output` belongs in a network, not in a block or a nested body", statement.span)
        if any(o.name == statement.name for o in self.outputs):
            refuse("E203", f"there are two outputs `{statement.name}`", statement.name_span)
        if statement.stages is None:
            binding = place.frame.find(statement.name)
            if binding is not None and isinstance(binding.value, ValueRef):
                binding.used = True
                result: Ref | None = binding.value.ref
            else:
                result = flow
            if result is None:
                refuse("E210", "there is no value to put out here", statement.span)
            if binding is None:
                place.frame.names[statement.name] = Binding(self._value(result, statement.name), statement.name_span, "output")
        else:
            check_name(statement.name, statement.name_span, place.frame)
            result = self._named(statement, statement.stages, statement.name, statement.name + place.suffix, flow)
            place.frame.names[statement.name] = Binding(self._value(result, statement.name), statement.name_span, "output", used=True)
        self.names[statement.name] = result
        if statement.shape is not None:
            self._annotate(statement.shape, result, statement.name)
        self.outputs.append(Output(statement.name, result, statement.span))
        return result

    def _run_head(self, statement: ast.Head, flow: Ref | None) -> Ref | None:
        place = self._place
        if not place.top:
            refuse("E504", "`head` belongs in a network, not in a block or a nested body", statement.span)
        if flow is None:
            refuse("E210", "there is no value for the head to start from", statement.name_span)
        check_name(statement.name, statement.name_span, place.frame)
        weight: float | None = None
        for i, arg in enumerate(statement.args):
            if arg.name not in (None, "weight") or i > 0:
                refuse("E208", "a head takes one argument, `weight`", arg.span)
            value = self._evaluate(arg.value)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                refuse("E209", f"the weight of a head is a number of at least 0, but this is {show(value)}", arg.span)
            weight = float(value)
        path = place.naming.take(statement.name + place.suffix)
        scope = self._scope("head", path, statement, (flow,), weight=weight)
        inner = _Place(Frame(place.frame, defaults=place.frame.defaults), scope, _Naming(path + "."), inlet=flow)
        scope.result = self._body(statement.body, inner, flow)
        self.heads.append(scope)
        if scope.result is not None:
            place.frame.names[statement.name] = Binding(self._value(scope.result, statement.name), statement.name_span, "head", used=True)
            self.names[statement.name] = scope.result
        return flow

    def _run_let(self, statement: ast.Let, flow: Ref | None) -> Ref | None:
        check_name(statement.name, statement.name_span, self._place.frame)
        self._flow = flow
        value = self._evaluate(statement.value)
        self._place.frame.names[statement.name] = Binding(value, statement.name_span, "constant")
        dict_of(self._place.scope)[statement.name] = LetValue(statement.value, value)
        return flow

    def _run_module(self, statement: ast.Module, flow: Ref | None) -> Ref | None:
        place = self._place
        check_name(statement.name, statement.name_span, place.frame)
        self._flow = flow
        found = self._resolve(statement.target)
        if isinstance(found, BlockValue):
            written = self._block_args(found.block, statement.args, statement.span)
            args: Mapping[str, Any] = self._block_values(found, written)
        elif isinstance(found, OpValue) and issubclass(found.kind, Map):
            args, written = {}, {a.name or "": a for a in statement.args}
            self._layer(found.kind, statement.args, statement, statement.span, check_only=True)
        else:
            refuse("E202", f"a module is an instance of a block or of an op, but this is {show(found)}", statement.target.span)
        path = place.naming.take(statement.name + place.suffix)
        shared = _Shared(statement.name, path, found, args, written, statement.span)
        place.frame.names[statement.name] = Binding((shared, statement), statement.name_span, "module")
        return flow

    def _run_default(self, statement: ast.Default, flow: Ref | None) -> Ref | None:
        kind = KINDS.get(statement.op)
        if kind is None or kind.role == "input":
            guess = nearest(statement.op, KINDS)
            refuse("E201", f"there is no op `{statement.op}`", statement.op_span, help=f"did you mean `{guess}`?" if guess else None)
        fields = field_names(kind)
        for arg in statement.args:
            if arg.name is None:
                refuse("E208", "a default names its attributes: `default conv(bias=false)`", arg.span)
            if arg.name not in fields:
                refuse_attribute(kind, arg)
        frame = self._place.frame
        self._flow = flow
        fixed = {}
        for arg in statement.args:
            assert arg.name is not None
            self._evaluate(arg.value)
            fixed[fields[arg.name]] = arg
        merged = dict(frame.defaults)
        merged[statement.op] = {**merged.get(statement.op, {}), **fixed}
        frame.defaults = merged
        return flow

    def _run_expect(self, statement: ast.Expect, flow: Ref | None) -> Ref | None:
        condition = statement.condition
        if not (isinstance(condition, ast.Binary) and condition.op in ("==", "!=", "<", "<=", ">", ">=")):
            refuse("E401", "`expect` compares a fact with a number: `expect params == 60_000`", condition.span)
        self.expectations.append(Expectation(condition, statement.span, self._place.frame, self._place.scope))
        return flow

    def _run_if(self, statement: ast.If, flow: Ref | None) -> Ref | None:
        self._flow = flow
        return self._choose(statement, flow)

    def _choose(self, statement: ast.If, flow: Ref | None, branch: bool = False) -> Ref | None:
        """Run the side of an ``if`` that holds; in a merge (``branch``) a side that is not there gives None."""
        truth = self._evaluate.truth(statement.condition)
        place = self._place
        side = statement.then if truth else statement.other
        scope = self._scope("if", place.scope.path, statement, (flow,) if flow is not None else ())
        scope.taken = 0 if truth else 1 if statement.other is not None else None
        counters = place.naming.counters
        before = dict(counters)
        inner = _Place(
            Frame(place.frame, loop=True, defaults=place.frame.defaults), scope, place.naming, place.suffix, place.inlet, place.top
        )
        result = None if branch else flow
        if isinstance(side, ast.If):
            outer, self._place = self._place, inner
            try:
                result = self._choose(side, flow, branch)
            finally:
                self._place = outer
        elif side is not None:
            result = self._body(side, inner, flow)
        scope.result = result
        # The numbers of the side that was not taken stay free, so that later layers keep their names whichever side it is.
        unused = statement.other if truth else statement.then
        if unused is not None:
            for base, count in self._static_names(unused).items():
                counters[base] = max(counters.get(base, 0), before.get(base, 0) + count)
        return result

    def _run_for(self, statement: ast.For, flow: Ref | None) -> Ref | None:
        for _, _, flow in self._turns(statement, flow):
            pass
        return flow

    def _turns(self, statement: ast.For, flow: Ref | None, branches: bool = False) -> Any:
        """Run a loop; after each turn give its scope, and the flow. With ``branches`` every turn starts from the same flow."""
        place = self._place
        self._flow = flow
        turns = self._loop_values(statement)
        loop = self._scope("loop", place.scope.path, statement, (flow,) if flow is not None else ())
        start = flow
        for index, values in enumerate(turns):
            self._step(statement.span)
            scope = Scope("turn", place.scope.path, loop, statement.span, statement, bindings=dict(values), index=index)
            loop.items.append(scope)
            frame = Frame(place.frame, loop=True, defaults=place.frame.defaults)
            for name, value in values.items():
                check_name(name, statement.span, place.frame)
                frame.names[name] = Binding(value, statement.span, "loop variable")
            turn_flow = start if branches else flow
            scope.inputs = (turn_flow,) if turn_flow is not None else ()
            inner = _Place(frame, scope, place.naming, f"{place.suffix}[{index}]", place.inlet, place.top)
            flow = self._body(statement.body, inner, turn_flow)
            scope.result = flow
            yield loop, scope, flow
        loop.result = flow

    def _loop_values(self, statement: ast.For) -> list[dict[str, Any]]:
        if statement.repeat:
            count = self._evaluate.whole(statement.iterable, "the count of a `repeat`")
            if count < 0:
                refuse("E218", f"`repeat` needs a count of at least 0, but this is {count}", statement.iterable.span)
            if count > MAX_STEPS:
                refuse("E605", f"`repeat {count:,}` is too large: a network may have {MAX_LAYERS:,} layers", statement.iterable.span)
            return [{} for _ in range(count)]
        values = self._evaluate(statement.iterable)
        if not isinstance(values, list | Shape):
            refuse("E211", f"`for` goes over a list or a range, but this is {show(values)}", statement.iterable.span)
        targets = statement.targets
        if len(targets) > 2:
            refuse("E217", "`for` takes one name, or an index and a name", statement.span, help="take an entry apart with `for i, (a, b) in …`")
        turns = []
        for index, value in enumerate(values):
            turn: dict[str, Any] = {}
            if len(targets) == 2:
                if len(targets[0]) != 1:
                    refuse("E217", "the first name of `for i, v` is the index", statement.span)
                turn[targets[0][0]] = index
            names = targets[-1]
            if len(names) == 1:
                turn[names[0]] = value
            else:
                if not isinstance(value, list | Shape) or len(value) != len(names):
                    size = f"{len(value)} entries" if isinstance(value, list | Shape) else show(value)
                    refuse("E217", f"{len(names)} names for {size} in turn {index}", statement.span)
                turn.update(zip(names, value, strict=True))
            turns.append(turn)
        return turns

    def _run_reserved(self, statement: ast.Reserved, flow: Ref | None) -> Ref | None:
        refuse_reserved(statement)
        return flow

    def _static_names(self, body: ast.Body | ast.If) -> dict[str, int]:
        """How many unnamed layers of each kind a body has when every loop runs once and every condition takes its longest side."""
        if isinstance(body, ast.If):
            sides = [self._static_names(body.then)]
            if body.other is not None:
                sides.append(self._static_names(body.other))
            return {k: max(s.get(k, 0) for s in sides) for k in {k for s in sides for k in s}}
        known = self._static.get(body)
        if known is not None:
            return known
        counts: dict[str, int] = {}

        def add(more: Mapping[str, int]) -> None:
            for key, value in more.items():
                counts[key] = counts.get(key, 0) + value

        for statement in body.statements:
            if isinstance(statement, ast.Flow) and not statement.targets:
                for stage in statement.stages:
                    if isinstance(stage, ast.Body):
                        add(self._static_names(stage))
                        continue
                    base = stage.target.name if stage.target.name in KINDS else block_base(stage.target.name)
                    if stage.target.name in KINDS or stage.args is not None:
                        add({base: 1})
                    if stage.body is not None:
                        add(self._static_names(stage.body))
            elif isinstance(statement, ast.If):
                add(self._static_names(statement))
            elif isinstance(statement, ast.For):
                add(self._static_names(statement.body))
        self._static[body] = counts
        return counts

    # ----------------------------------------------------------------------------------------------------------------- pipelines

    def _pipeline(self, stages: tuple[ast.Stage, ...], flow: Ref | None) -> Ref | None:
        for position, stage in enumerate(stages):
            self._flow = flow
            flow = self._stage(stage, flow, position == 0, None)
        return flow

    def _named(self, statement: ast.Flow | ast.Output, stages: tuple[ast.Stage, ...], name: str, shown: str, flow: Ref | None) -> Ref:
        """Run a pipeline that has a name.

        Where the name belongs to one layer, that layer has it: the only op; among several plain ops the only one with parameters,
        else the only pooling, else the first. Otherwise the name is a scope around the layers.
        """
        how, owner = self._plan(statement, stages)
        place = self._place
        result: Ref | None = flow
        if how == "value":
            result = self._pipeline(stages, flow)
        elif how == "scope":
            path = place.naming.take(shown)
            scope = self._scope("body", path, statement, (flow,) if flow is not None else ())
            inner = _Place(Frame(place.frame, loop=True, defaults=place.frame.defaults), scope, _Naming(path + "."), "", place.inlet)
            outer, self._place = self._place, inner
            try:
                result = self._pipeline(stages, flow)
            finally:
                self._place = outer
            scope.result = result
        elif how == "instance":
            for position, stage in enumerate(stages):
                self._flow = result
                own = place.naming.take(shown) if position == owner else None
                result = self._stage(stage, result, position == 0, own)
        else:
            path = place.naming.take(shown)
            inner_naming = _Naming(path + ".")
            for position, stage in enumerate(stages):
                self._flow = result
                if position == owner:
                    result = self._stage(stage, result, position == 0, path)
                else:
                    inner = _Place(place.frame, place.scope, inner_naming, place.suffix, place.inlet, place.top)
                    outer, self._place = self._place, inner
                    try:
                        result = self._stage(stage, result, position == 0, None)
                    finally:
                        self._place = outer
        if result is None:
            refuse("E210", f"there is no value for `{name}`", statement.span)
        return result

    def _plan(self, statement: ast.Flow | ast.Output, stages: tuple[ast.Stage, ...]) -> tuple[str, int]:
        """What the name of a pipeline names: nothing new, a scope, one instance, or one op (at which position)."""
        ops: list[tuple[int, type[Layer]]] = []
        others: list[int] = []
        for position, stage in enumerate(stages):
            if isinstance(stage, ast.Body):
                others.append(position)
                continue
            found = self._peek(stage.target)
            if isinstance(found, ValueRef):
                continue
            if isinstance(found, OpValue) and stage.body is None:
                ops.append((position, found.kind))
            else:
                others.append(position)
        if not ops and not others:
            return "value", 0
        if not ops and len(others) == 1:
            return "instance", others[0]
        if others:
            return "scope", 0
        weighted = [p for p, kind in ops if kind.has_params()]
        if len(weighted) > 1:
            return "scope", 0
        pools = [p for p, kind in ops if kind.role == "pooling"]
        return "op", weighted[0] if weighted else pools[0] if len(pools) == 1 else ops[0][0]

    def _peek(self, target: ast.Target) -> Any:
        """What a stage's name stands for, without complaint."""
        if target.name in ("in", "flow"):
            return ValueRef(None, None, target.name)
        binding = self._place.frame.find(target.name)
        if binding is not None:
            if isinstance(binding.value, Family):
                return ValueRef(None, None, target.name)
            if isinstance(binding.value, list) and binding.value:
                return binding.value[0]
            return binding.value
        kind = KINDS.get(target.name)
        return None if kind is None else OpValue(kind)

    def _resolve(self, target: ast.Target) -> Any:
        """What a stage's name stands for: a value, a block, an op, a module; refuses an unknown one."""
        expr: ast.Expr = ast.Name(target.name, target.span)
        for index in target.indices:
            expr = ast.Index(expr, index, target.span)
        if not target.indices and target.name not in ("in", "flow") and self._place.frame.find(target.name) is None:
            kind = KINDS.get(target.name)
            if kind is None or kind.role == "input":
                self._refuse_stage(target)
            return OpValue(kind)
        return self._evaluate(expr)

    def _refuse_stage(self, target: ast.Target) -> None:
        name = target.name
        if name in self.unit.networks:
            refuse("E202", f"`{name}` is a network: only blocks can be used as stages", target.span, help="make it a `block` to use it here")
        if name in FUNCTIONS:
            refuse("E202", f"`{name}` is a function of numbers, not a layer", target.span)
        blocks = [n for n in self._place.frame.visible()]
        guess = nearest(name, [*KINDS, *blocks])
        refuse("E201", f"there is no op or block `{name}`", target.span, "unknown", help=f"did you mean `{guess}`?" if guess else None)

    def _stage(self, stage: ast.Stage, flow: Ref | None, first: bool, path: str | None) -> Ref | None:
        """Apply one stage; ``path`` is its name when it has one."""
        if isinstance(stage, ast.Body):
            return self._nested(stage, flow, path)
        found = self._resolve(stage.target)
        kind = type(found)
        if kind is OpValue:
            if issubclass(found.kind, Merge):
                return self._merge(found.kind, stage, flow, path)
            if stage.body is not None:
                refuse("E202", f"`{stage.target.name}` takes no body", stage.body.span)
            return self._op(found.kind, stage, flow, path)
        if kind is BlockValue:
            if stage.body is not None:
                refuse("E202", f"the block `{found}` takes no body", stage.body.span)
            return self._instance(found, stage, flow, path)
        if kind is ValueRef:
            if stage.args is not None or stage.body is not None:
                refuse("E202", f"`{stage.target.name}` is a value, so it takes no arguments", stage.span)
            if not first:
                refuse("E202", f"`{stage.target.name}` is a value: the flow cannot go into it", stage.span, help="start a statement from it, or join it in `concat { … }` or `add { … }`")
            return found.ref  # type: ignore[no-any-return]
        if kind is tuple and found and isinstance(found[0], _Shared):
            if stage.args is not None or stage.body is not None:
                refuse("E202", f"`{stage.target.name}` is a module with its arguments already", stage.span)
            return self._use_shared(found[0], found[1], stage, flow)
        if isinstance(found, Family):
            refuse("E205", f"`{found.name}` is an indexed name: say which, as in `{found.name}[0]`", stage.span)
        refuse("E202", f"`{stage.target.name}` is {show(found)}, not a layer", stage.target.span)

    def _nested(self, body: ast.Body, flow: Ref | None, path: str | None) -> Ref | None:
        place = self._place
        frame = Frame(place.frame, loop=path is None, defaults=place.frame.defaults)
        if path is None:
            return self._body(body, _Place(frame, place.scope, place.naming, place.suffix, place.inlet, False), flow)
        scope = self._scope("body", path, body, (flow,) if flow is not None else ())
        scope.result = self._body(body, _Place(frame, scope, _Naming(path + "."), "", place.inlet), flow)
        return scope.result

    # -------------------------------------------------------------------------------------------------------------------- layers

    def _op(self, kind: type[Layer], stage: ast.Apply, flow: Ref | None, path: str | None) -> Ref:
        if flow is None:
            refuse("E210", f"there is no value for `{kind.keyword}` to work on", stage.span, "nothing flows here", help="start the statement from a name: `image -> …`")
        layer, extra, written = self._layer(kind, stage.args or (), stage, stage.span)
        return self._add(layer, (flow, *extra), stage.span, path, written)

    def _add(
        self,
        layer: Layer,
        inputs: tuple[Ref, ...],
        span: Span,
        path: str | None,
        written: Mapping[str, ast.Arg],
        shares: int | None = None,
    ) -> Ref:
        """Put a layer into the graph, with its shapes."""
        place = self._place
        nodes = self.nodes
        self._step(span)
        arriving: list[Shape] | None = []
        for ref in inputs:
            shapes = nodes[ref.node].shapes
            if shapes is None:
                arriving = None
                break
            arriving.append(shapes[ref.port])  # type: ignore[union-attr]
        made: tuple[Shape, ...] | None = None
        failure: ShapeError | None = None
        if arriving is not None:
            key = (id(layer), tuple(arriving))
            found = self._facts.get(key)
            if found is None:
                found = self._facts[key] = self._infer(layer, key[1])
            if isinstance(found, ShapeError):
                failure = found
            else:
                made = found
        own = path or place.naming.next(layer.keyword)
        node = Node(
            len(nodes), own, layer, inputs, made, place.scope, span, failure, written, shares, statement=self._statement_start
        )
        nodes.append(node)
        place.scope.items.append(node.id)
        return Ref(node.id)

    def _infer(self, layer: Layer, inputs: tuple[Shape, ...]) -> tuple[Shape, ...] | ShapeError:
        try:
            shapes = layer.infer(inputs)
        except ShapeError as error:
            return error
        for shape in shapes:
            if min(shape, default=1) < 1:
                return ShapeError(f"`{layer.keyword}` gives an empty value of {shape}", code="E301")
            if shape.numel > MAX_NUMEL:
                return ShapeError(f"`{layer.keyword}` gives a value of {shape}: too large", code="E602")
        return shapes

    def _layer(
        self, kind: type[Layer], args: tuple[ast.Arg, ...], stage: Any, span: Span, check_only: bool = False
    ) -> tuple[Layer, tuple[Ref, ...], Mapping[str, ast.Arg]]:
        """A layer of a kind with its arguments; the values that it takes by name; the arguments as written."""
        written, references = bind_arguments(kind, args, span)
        defaults = self._place.frame.defaults.get(kind.keyword)
        if defaults:
            written = {**defaults, **written}
        extra: list[Ref] = []
        if not check_only:
            for name in kind.references:
                if name not in references:
                    refuse("E208", f"`{kind.keyword}` needs the name of a value: `{kind.keyword}({name})`", span)
                value = self._evaluate(references[name].value)
                if not isinstance(value, ValueRef):
                    refuse("E209", f"`{name}` of `{kind.keyword}` must be the name of a value, but this is {show(value)}", references[name].span)
                extra.append(value.ref)
        evaluate = self._evaluate
        values = {name: evaluate(arg.value) for name, arg in written.items()}
        key: Any = (kind, tuple(values), tuple(map(_frozen, values.values())))
        layer = self._layers.get(key)
        if layer is None:
            layer = self._layers[key] = make_layer(kind, values, written, span)
        return layer, tuple(extra), written

    def _merge(self, kind: type[Layer], stage: ast.Apply, flow: Ref | None, path: str | None) -> Ref | None:
        if stage.body is None:
            refuse("E202", f"`{kind.keyword}` joins branches: write them in braces", stage.span, help=f"{kind.keyword} {{ a; b }}")
        if stage.args:
            refuse("E208", f"`{kind.keyword}` takes no arguments", stage.args[0].span)
        place = self._place
        scope = self._scope("merge", path or place.scope.path, stage, (flow,) if flow is not None else ())
        naming = place.naming if path is None else _Naming(path + ".")
        frame = Frame(place.frame, loop=True, defaults=place.frame.defaults)
        inner = _Place(frame, scope, naming, place.suffix if path is None else "", place.inlet)
        outer, self._place = self._place, inner
        try:
            branches = self._branches(stage.body, flow)
        finally:
            self._place = outer
        if not branches:
            refuse("E507", f"`{kind.keyword}` has no branches", stage.span, "nothing to join")
        if len(branches) == 1:
            scope.result = branches[0]
            return branches[0]
        layer, _, _ = self._layer(kind, (), stage, stage.span)
        # The node belongs to the merge's own scope, behind its branches.
        joined = _Place(place.frame, scope, place.naming, place.suffix, place.inlet)
        outer, self._place = self._place, joined
        try:
            scope.result = self._add(layer, tuple(branches), stage.span, path, {})
        finally:
            self._place = outer
        return scope.result

    def _branches(self, body: ast.Body, flow: Ref | None) -> list[Ref]:
        """The results of a merge's branches, each starting from the same flow."""
        found: list[Ref] = []
        merge = self._place
        for statement in body.statements:
            if isinstance(statement, ast.Let | ast.Default | ast.Module | ast.Expect | ast.Reserved):
                self._statement(statement, flow)
                continue
            scope = self._scope("branch", merge.scope.path, statement, (flow,) if flow is not None else ())
            self._place = _Place(merge.frame, scope, merge.naming, merge.suffix, merge.inlet)
            try:
                if isinstance(statement, ast.If | ast.For):
                    self._step(statement.span)
                    found.extend(self._branch_of(statement, flow, scope))
                else:
                    result = self._statement(statement, flow)
                    if result is None:
                        self._report(Diagnostic("E210", "this branch has no value", Label(statement.span)))
                        result = self._hole(statement.span, ())
                    found.append(result)
                    scope.result = result
            finally:
                self._place = merge
        return found

    def _branch_of(self, statement: ast.If | ast.For, flow: Ref | None, scope: Scope) -> list[Ref]:
        """The branches that an ``if`` (none or one) or a ``for`` (one a turn) contributes."""
        self._flow = flow
        try:
            if isinstance(statement, ast.For):
                return [ref for _, _, ref in self._turns(statement, flow, branches=True) if ref is not None]
            result = self._choose(statement, flow, branch=True)
            scope.result = result
            return [] if result is None else [result]
        except Refusal as refusal:
            self._report(refusal.diagnostic)
        except Poisoned:
            pass
        return [self._hole(statement.span, (flow,) if flow is not None else ())]

    # -------------------------------------------------------------------------------------------------------------------- blocks

    def _block_args(self, block: ast.Block, args: tuple[ast.Arg, ...], span: Span) -> dict[str, ast.Arg]:
        """The arguments of a call by parameter name; refuses unknown, doubled, missing and surplus ones."""
        return call_arguments(f"the block `{block.name}`", block.params, args, span)

    def _block_values(self, found: BlockValue, written: Mapping[str, ast.Arg]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, arg in written.items():
            values[name] = self._evaluate(arg.value)
        home = _Place(Frame(found.home), self._place.scope, self._place.naming)
        for param in found.block.params:
            if param.name not in values and param.default is not None:
                outer, self._place = self._place, home
                try:
                    values[param.name] = self._evaluate(param.default)
                finally:
                    self._place = outer
            if param.name in values:
                home.frame.names[param.name] = Binding(values[param.name], param.span, "parameter")
        for name, value in values.items():
            if isinstance(value, ValueRef):
                arg = written.get(name)
                refuse("E209", "a block takes numbers, blocks and options, not values of the network", arg.span if arg else found.block.span, help="a block's input is what flows into it: `in`")
        return values

    def _instance(self, found: BlockValue, stage: ast.Apply, flow: Ref | None, path: str | None) -> Ref | None:
        block = found.block
        if flow is None:
            refuse("E210", f"there is no value for `{block.name}` to work on", stage.span, "nothing flows here")
        written = self._block_args(block, stage.args or (), stage.span)
        values = self._block_values(found, written)
        place = self._place
        own = path or place.naming.next(block_base(block.name))
        return self._enter(found, values, {n: a.value for n, a in written.items()}, own, stage, stage.span, flow, None)

    def _enter(
        self,
        found: BlockValue,
        values: Mapping[str, Any],
        arguments: Mapping[str, ast.Expr],
        path: str,
        origin: Any,
        span: Span,
        flow: Ref,
        shares: Scope | None,
    ) -> Ref | None:
        """Run a block's body as an instance named ``path``."""
        block = found.block
        if block in self._active:
            chain = " -> ".join(b.name for b in [*self._active[self._active.index(block) :], block])
            refuse("E508", f"the block `{block.name}` uses itself: {chain}", span, "blocks may not recurse")
        if len(self._active) >= MAX_DEPTH:
            refuse("E603", f"blocks stand inside each other more than {MAX_DEPTH} deep", span)
        frame = Frame(found.home)
        for param in block.params:
            check_name(param.name, param.span, frame)
            frame.names[param.name] = Binding(values.get(param.name), param.span, "parameter")
        scope = self._scope("block", path, origin, (flow,), bindings=dict(values), span=span)
        scope.block = block
        scope.arguments = arguments
        scope.shares = shares
        scope.home = found.home
        self._active.append(block)
        try:
            scope.result = self._body(block.body, _Place(frame, scope, _Naming(path + "."), "", flow), flow)
        finally:
            self._active.pop()
        return scope.result

    def _use_shared(self, shared: _Shared, declared: ast.Module, stage: ast.Apply, flow: Ref | None) -> Ref | None:
        """Apply a module; every use after the first shares the weights of the first."""
        if flow is None:
            refuse("E210", f"there is no value for `{shared.name}` to work on", stage.span, "nothing flows here")
        shared.uses += 1
        path = shared.path if shared.uses == 1 else f"{shared.path}@{shared.uses}"
        start = len(self.nodes)
        if isinstance(shared.target, OpValue):
            layer, extra, written = self._layer(shared.target.kind, declared.args, declared, declared.span)
            first = shared.first if isinstance(shared.first, int) else None
            result: Ref | None = self._add(layer, (flow, *extra), stage.span, path, written, first)
            self.nodes[start].shared = True
            if shared.first is None:
                shared.first = start
            elif first is not None:
                self._same_weights(shared, first, start, stage)
            return result
        arguments = {n: a.value for n, a in shared.written.items()}
        first_scope = shared.first if isinstance(shared.first, Scope) else None
        result = self._enter(shared.target, shared.args, arguments, path, declared, stage.span, flow, first_scope)
        made = self._place.scope.items[-1]
        assert isinstance(made, Scope)
        made.shared = True
        if first_scope is None:
            shared.first = made
            return result
        for before, after in zip(_nodes_in(first_scope), _nodes_in(made), strict=False):
            self.nodes[after].shares = before
            if not self._same_weights(shared, before, after, stage):
                break
        return result

    def _same_weights(self, shared: _Shared, before: int, after: int, stage: ast.Apply) -> bool:
        first, again = self.nodes[before], self.nodes[after]
        if first.shapes is None or again.shapes is None:
            return True  # one of them has failed and is blamed for that
        a = tuple(self.nodes[r.node].shapes[r.port] for r in first.inputs)  # type: ignore[index]
        b = tuple(self.nodes[r.node].shapes[r.port] for r in again.inputs)  # type: ignore[index]
        if first.layer == again.layer and (
            not first.layer.has_params() or (a[0].channels == b[0].channels and first.layer.count_params(a) == again.layer.count_params(b))
        ):
            return True
        self._report(
            Diagnostic(
                "E312",
                f"the module `{shared.name}` cannot share its weights: {a[0]} arrived at `{first.path}` first, {b[0]} arrives now",
                Label(stage.span, f"{b[0]} arrives here"),
                (Label(first.span, f"first use, with {a[0]}"), Label(shared.span, "declared here")),
                help="declare a second module, or bring both values to the same channels",
            )
        )
        return False

    def _scope(self, kind: Any, path: str, origin: Any, inputs: tuple[Ref, ...], **more: Any) -> Scope:
        parent = self._place.scope
        span = more.pop("span", None) or origin.span
        bindings = more.pop("bindings", {})
        scope = Scope(kind, path, parent, span, origin, bindings=bindings, inputs=inputs, **more)
        parent.items.append(scope)
        return scope


class _Enough(Exception):
    """The network is too large: building stops."""


class _Poison:
    """The value of a name whose making failed."""


_POISON = _Poison()


@dataclass(frozen=True, slots=True)
class LetValue:
    """What a ``let`` bound, for the backends: the expression and its value."""

    expr: ast.Expr
    value: Any


def dict_of(scope: Scope) -> dict[str, Any]:
    """A scope's bindings, to add to while it is being built."""
    assert isinstance(scope.bindings, dict)
    return scope.bindings


def with_name(builder: Builder, name: str, span: Span, frame: Frame) -> None:
    """Report a parameter whose name is taken."""
    try:
        check_name(name, span, frame)
    except Refusal as refusal:
        builder.problems.append(refusal.diagnostic)


def _nodes_in(scope: Scope) -> list[int]:
    found: list[int] = []
    for item in scope.items:
        if isinstance(item, int):
            found.append(item)
        else:
            found.extend(_nodes_in(item))
    return found


def _frozen(value: Any) -> Any:
    """A hashable stand-in that tells 1, 1.0 and true apart."""
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    if isinstance(value, ValueRef):
        return (ValueRef, value.name)
    return (type(value), value)


_FIELDS: dict[type[Layer], dict[str, str]] = {}


def field_names(kind: type[Layer]) -> dict[str, str]:
    """The attributes of an op as a spec writes them, in order, with the field that each one is."""
    known = _FIELDS.get(kind)
    if known is None:
        known = _FIELDS[kind] = {(f.alias or n): (f.alias or n) for n, f in kind.model_fields.items()}
    return known


def refuse_attribute(kind: type[Layer], arg: ast.Arg) -> None:
    """An attribute that the op does not have."""
    names = [*kind.references, *field_names(kind)]
    guess = nearest(arg.name or "", names)
    has = ", ".join(names) or "no attributes"
    refuse(
        "E208",
        f"`{kind.keyword}` has no attribute `{arg.name}`",
        arg.span,
        "unknown",
        help=f"did you mean `{guess}`?" if guess else f"it has {has}",
    )


def bind_arguments(kind: type[Layer], args: tuple[ast.Arg, ...], span: Span) -> tuple[dict[str, ast.Arg], dict[str, ast.Arg]]:
    """Arguments by field; and, apart, those that name values."""
    fields = field_names(kind)
    order = [*kind.references, *fields]
    bound: dict[str, ast.Arg] = {}
    named = False
    for position, arg in enumerate(args):
        if arg.name is None:
            if named:
                refuse("E208", "a positional argument stands after a named one", arg.span, help="put it first, or give it its name")
            if position >= len(order):
                most = len(order)
                refuse(
                    "E208",
                    f"`{kind.keyword}` takes at most {most} argument{'s' if most != 1 else ''}, but {len(args)} are given" if most else f"`{kind.keyword}` takes no arguments",
                    arg.span,
                    "one too many",
                )
            name = order[position]
        else:
            named = True
            name = arg.name
            if name not in order:
                refuse_attribute(kind, arg)
        if name in bound:
            refuse("E208", f"`{name}` is given twice", arg.span, "again here")
        bound[name] = arg
    references = {n: a for n, a in bound.items() if n in kind.references}
    return {fields[n]: a for n, a in bound.items() if n not in references}, references


def make_layer(kind: type[Layer], values: Mapping[str, Any], written: Mapping[str, ast.Arg], span: Span) -> Layer:
    """A layer with checked arguments; the first wrong one is refused at its place."""
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
    loc = str(first["loc"][0]) if first["loc"] else ""
    names = {f: n for n, f in field_names(kind).items()}
    name = loc if loc in names.values() else names.get(loc, loc)
    fields = {n: f for n, f in field_names(kind).items()}
    arg = written.get(fields.get(name, loc))
    if first["type"] == "missing":
        signature = ", ".join(n if f.is_required() else f"{n}=…" for n, f in ((f.alias or k, f) for k, f in kind.model_fields.items()))
        refuse("E208", f"`{kind.keyword}` needs `{name}`", span, f"`{name}` is missing", help=f"{kind.keyword}({signature})")
    value = values.get(fields.get(name, loc))
    if value is None and arg is None:
        refuse("E209", f"`{kind.keyword}`: {_sentence(first)}", span)
    code = "E212" if isinstance(value, float) and "whole" in str(first["msg"]) else "E209"
    refuse(
        code,
        f"`{name}` of `{kind.keyword}`: {_sentence(first)}",
        arg.span if arg else span,
        f"this is {show(value)}",
        help="use `//`, `round(…)`, `floor(…)` or `ceil(…)`" if code == "E212" else None,
    )


def _sentence(error: Any) -> str:
    """What pydantic says, as a sentence of ours."""
    context = error.get("ctx") or {}
    if error["type"] == "value_error":
        return str(context.get("error", error["msg"]))
    if error["type"] in ("greater_than_equal", "greater_than", "less_than", "less_than_equal"):
        words = {
            "greater_than_equal": "at least",
            "greater_than": "more than",
            "less_than": "less than",
            "less_than_equal": "at most",
        }
        bound = next(iter(context.values()))
        return f"must be {words[error['type']]} {bound}, but is {show(error['input'])}"
    if error["type"] == "literal_error":
        return f"must be {context.get('expected', 'another word')}, but is {show(error['input'])}"
    return f"{str(error['msg'])[:1].lower()}{str(error['msg'])[1:]}, but this is {show(error['input'])}"


def call_arguments(what: str, params: tuple[ast.Param, ...], args: tuple[ast.Arg, ...], span: Span) -> dict[str, ast.Arg]:
    """Arguments by parameter name; refuses unknown, doubled, missing and surplus ones."""
    names = [p.name for p in params]
    bound: dict[str, ast.Arg] = {}
    named = False
    for position, arg in enumerate(args):
        if arg.name is None:
            if named:
                refuse("E208", "a positional argument stands after a named one", arg.span, help="put it first, or give it its name")
            if position >= len(names):
                most = len(names)
                takes = f"takes {most} argument{'s' if most != 1 else ''}" if most else "takes no arguments"
                refuse("E208", f"{what} {takes}, but {len(args)} are given", arg.span, "one too many")
            name = names[position]
        else:
            named = True
            name = arg.name
            if name not in names:
                guess = nearest(name, names)
                takes = ", ".join(f"`{n}`" for n in names)
                refuse(
                    "E208",
                    f"{what} has no parameter `{name}`",
                    arg.span,
                    "unknown",
                    help=f"did you mean `{guess}`?" if guess else f"it takes {takes}" if names else "it takes none",
                )
        if name in bound:
            refuse("E208", f"`{name}` is given twice", arg.span, "again here")
        bound[name] = arg
    missing = [p.name for p in params if p.default is None and p.name not in bound]
    if missing:
        shown = " and ".join(f"`{m}`" for m in missing)
        refuse("E208", f"{what} needs {shown}", span, f"{shown} {'are' if len(missing) > 1 else 'is'} missing")
    return bound


def with_calls(diagnostic: Diagnostic, scope: Scope | None) -> Diagnostic:
    """A problem with the chain of block calls that led to it, nearest first."""
    calls: list[Label] = []
    while scope is not None:
        if scope.kind == "block" and scope.block is not None:
            given = ", ".join(f"{k}={show(v)}" for k, v in scope.bindings.items() if not isinstance(v, LetValue))
            calls.append(Label(scope.span, f"in this use of `{scope.block.name}`" + (f", with {given}" if given else "")))
        scope = scope.parent
    if not calls:
        return diagnostic
    d = diagnostic
    return Diagnostic(d.code, d.headline, d.at, (*d.also, *calls), d.notes, d.help, d.fixes, d.severity)


_STATEMENTS: Mapping[type, Any] = {
    ast.Flow: Builder._run_flow,
    ast.Input: Builder._run_input,
    ast.Output: Builder._run_output,
    ast.Head: Builder._run_head,
    ast.Let: Builder._run_let,
    ast.Module: Builder._run_module,
    ast.Default: Builder._run_default,
    ast.Expect: Builder._run_expect,
    ast.If: Builder._run_if,
    ast.For: Builder._run_for,
    ast.Reserved: Builder._run_reserved,
}
