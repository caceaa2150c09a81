"""The network while it is being built: its nodes, the place where statements run, the names that can be seen there.

What the statements and stages do is in the modules beside this one; each takes the builder and the flow, and gives the new flow. Nothing
here counts or judges the whole network: a layer that refuses its input stays in the graph with its failure, and what hangs on it is
skipped silently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from cnnc.diagnostics.model import Diagnostic, Label
from cnnc.elaborate.arguments import bind_arguments, frozen, is_fixed, make_layer
from cnnc.elaborate.evaluate import MAX_WORK, Evaluator, brackets, undefined
from cnnc.elaborate.files import Unit
from cnnc.elaborate.names import Naming, Outline, check_name
from cnnc.elaborate.values import (
    POISON,
    Binding,
    Family,
    Frame,
    LetValue,
    Poisoned,
    Refusal,
    ValueRef,
    builtin,
    refuse,
    show,
    too_deep,
)
from cnnc.graph import Annotation, Node, Output, Ref, Scope, ScopeKind
from cnnc.layers import Layer
from cnnc.layers.hole import Hole
from cnnc.shapes import Shape, ShapeError
from cnnc.source import Span
from cnnc.syntax import ast

#: How many layers a network may have.
MAX_LAYERS = 200_000
#: How many statements may run while one network is built.
MAX_STEPS = 700_000
#: How deeply bodies may stand in bodies, those of the blocks in use counted in.
MAX_BODIES = 80
#: The most numbers that one value may hold.
MAX_NUMEL = 2**48

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, eq=False)
class Expectation:
    """An ``expect`` with what its names mean; facts are known only later."""

    condition: ast.Binary
    span: Span
    frame: Frame
    scope: Scope


@dataclass(eq=False, slots=True)
class Place:
    """Where statements run: the names, the scope, the layer names, the turns of the loops around, the value that came in.

    ``top`` says that it is the network's own body, loops and conditions included.
    """

    frame: Frame
    scope: Scope
    naming: Naming
    suffix: str = ""
    inlet: Ref | None = None
    top: bool = False

    def inner(self, scope: Scope, frame: Frame, *, suffix: str | None = None, top: bool | None = None) -> Place:
        """A body in this one that shares its layer names."""
        return Place(frame, scope, self.naming, self.suffix if suffix is None else suffix, self.inlet, self.top if top is None else top)


@dataclass(frozen=True, slots=True)
class Claim:
    """A name that a statement is about to bind: its index, as shown, and as the layers' paths have it."""

    target: ast.Target
    index: tuple[int, ...]
    shown: str
    path: str


class Enough(Exception):
    """The network is too large: building stops."""


class Builder:
    """The state of building one network of a unit. ``run`` runs one statement."""

    def __init__(
        self, unit: Unit, inputs: Mapping[str | None, Shape], run: Callable[[Builder, ast.Statement, Ref | None], Ref | None]
    ) -> None:
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
        self.inputs: list[str] = []
        #: whether the network declares an input at all
        self.fed = True
        #: the blocks in use, from the outside in
        self.active: list[ast.Block] = []
        self.outline = Outline()
        self.evaluate = Evaluator(self._lookup)
        self.place: Place
        #: the value that flows into the stage at hand
        self.flow: Ref | None = None
        #: where the statement at hand starts
        self.statement_start = 0
        self._run = run
        self._steps = 0
        self._bodies = 0
        self._layers: dict[Any, Layer] = {}
        self._fixed: dict[ast.Apply, tuple[Any, type[Layer], Layer, Mapping[str, ast.Arg]]] = {}
        self._facts: dict[tuple[int, tuple[Shape, ...]], tuple[Shape, ...] | ShapeError] = {}
        self._reported: set[tuple[str, Any, int, int]] = set()

    # ---------------------------------------------------------------------------------------------------------------- problems

    def report(self, diagnostic: Diagnostic) -> None:
        """Keep a problem; one that a block or a loop shows again at the same place is the same mistake."""
        span = diagnostic.at.span
        key = (diagnostic.code, span.source, span.start, span.end)
        if key not in self._reported:
            self._reported.add(key)
            self.problems.append(with_calls(diagnostic, self.place.scope))

    def attempt(self, run: Callable[..., _T], *args: Any) -> _T | None:
        """What ``run`` gives; None when it meets a problem, which is kept."""
        try:
            return run(*args)
        except Refusal as refusal:
            self.report(refusal.diagnostic)
        except Poisoned:
            pass
        return None

    def step(self, span: Span) -> None:
        """Count a statement; stop where a network grows beyond all measure."""
        self._steps += 1
        if self.evaluate.work > MAX_WORK:
            raise Enough
        if self._steps > MAX_STEPS or len(self.nodes) > MAX_LAYERS:
            what = f"{MAX_STEPS:,} statements" if self._steps > MAX_STEPS else f"{MAX_LAYERS:,} layers"
            self.report(Diagnostic("E605", f"this network is too large: more than {what}", Label(span, "reached here")))
            raise Enough

    # ------------------------------------------------------------------------------------------------------------------ bodies

    def body(self, body: ast.Body, place: Place, flow: Ref | None) -> Ref | None:
        """Run the statements of a body; the flow at its end."""
        if self._bodies >= MAX_BODIES:
            refuse(
                "E603", f"bodies stand inside each other more than {MAX_BODIES} deep", body.span, "reached here", help="make blocks of them"
            )
        outer, self.place = self.place, place
        self._bodies += 1
        run = self.run_one
        try:
            for statement in body.statements:
                flow = run(statement, flow)
        finally:
            self._bodies -= 1
            self.place = outer
        return flow

    def within(self, place: Place, run: Callable[..., _T], *args: Any) -> _T:
        """Do something at another place."""
        outer, self.place = self.place, place
        try:
            return run(*args)
        finally:
            self.place = outer

    def run_one(self, statement: ast.Statement, flow: Ref | None) -> Ref | None:
        """Run a statement; a problem is kept, and the flow goes on as a value whose making failed."""
        self.step(statement.span)
        self.statement_start = statement.span.start
        self.flow = flow
        try:
            return self._run(self, statement, flow)
        except Refusal as refusal:
            self.report(refusal.diagnostic)
        except Poisoned:
            pass
        except RecursionError:
            self.report(too_deep(statement.span))
        return self.failed(statement, flow)

    def failed(self, statement: ast.Statement, flow: Ref | None) -> Ref | None:
        """The flow after a statement that could not be run: its names are bound, so that nothing else is blamed for them."""
        frame = self.place.frame
        match statement:
            case ast.Let() | ast.Module():
                frame.poison(statement.name, statement.name_span)
                return flow
            case ast.Head():
                frame.poison(statement.name, statement.name_span)
                return flow
            case ast.Default() | ast.Expect():
                return flow
            case ast.Flow():
                for target in statement.targets:
                    frame.poison(target.name, target.span)
            case ast.Input():
                frame.poison(statement.name, statement.name_span)
                self.inputs.append(statement.name)
            case ast.Output():
                frame.poison(statement.name, statement.name_span)
        hole = self.hole(statement.span, (flow,) if flow is not None else ())
        if isinstance(statement, ast.Output):
            self.outputs.append(Output(statement.name, hole, statement.span))
        return hole

    def hole(self, span: Span, inputs: tuple[Ref, ...]) -> Ref:
        """A value whose making failed and was reported."""
        node = Node(len(self.nodes), self.place.naming.next("unknown"), Hole(), inputs, None, self.place.scope, span)
        return self.put(node)

    def put(self, node: Node) -> Ref:
        """A node that was just made, as a value."""
        self.nodes.append(node)
        self.place.scope.items.append(node.id)
        return Ref(node.id)

    def scope(
        self, kind: ScopeKind, path: str, origin: Any, flow: Ref | None, *, span: Span | None = None, weight: float | None = None
    ) -> Scope:
        """A new scope in the one at hand."""
        parent = self.place.scope
        scope = Scope(kind, path, parent, span or origin.span, origin, inputs=() if flow is None else (flow,), weight=weight)
        parent.items.append(scope)
        return scope

    def named_place(self, path: str, scope: Scope, frame: Frame, inlet: Ref | None, body: ast.Body | None = None) -> Place:
        """The place of a body whose layers are named below ``path``."""
        reserved = self.outline.given(body) if body is not None else frozenset()
        return Place(frame, scope, Naming(path + ".", reserved), "", inlet)

    # ------------------------------------------------------------------------------------------------------------------- names

    def value(self, ref: Ref, name: str) -> ValueRef:
        """A value as expressions see it."""
        shapes = self.nodes[ref.node].shapes
        return ValueRef(ref, None if shapes is None else shapes[ref.port], name)

    def _lookup(self, name: str, span: Span) -> Any:
        """What a name in an expression means."""
        place = self.place
        if name == "in" or name == "flow":
            ref = place.inlet if name == "in" else self.flow
            if ref is None:
                label = "no value flows here" if name == "flow" else "only a block or a head has an input"
                refuse("E204", f"`{name}` has no value here", span, label)
            return self.value(ref, name)
        binding = place.frame.find(name)
        if binding is not None:
            return binding.read()
        found = builtin(name)
        if found is None:
            if name in self.unit.networks:
                refuse("E204", f"`{name}` is a network: only blocks, values and numbers can be used here", span)
            undefined(name, span, place.frame)
        return found

    def claim_name(self, name: str, span: Span) -> bool:
        """Whether a name is free; a problem is kept when it is not."""
        try:
            check_name(name, span, self.place.frame)
        except Refusal as refusal:
            self.report(refusal.diagnostic)
            return False
        return True

    def claim(self, target: ast.Target) -> Claim | None:
        """A name that can be bound; None, with the problem kept, for one that cannot."""
        place = self.place
        if not target.indices:
            return Claim(target, (), target.name, target.name + place.suffix) if self.claim_name(target.name, target.span) else None
        index = self.attempt(self._index, target)
        if index is None:
            place.frame.poison(target.name, target.span)
            return None
        shown = target.name + brackets(index)
        binding = place.frame.owner.names.get(target.name)
        if binding is None or not isinstance(binding.value, Family):
            return Claim(target, index, shown, shown) if self.claim_name(target.name, target.span) else None
        if index not in binding.value.values:
            return Claim(target, index, shown, shown)
        headline = f"`{shown}` is bound twice"
        self.report(
            Diagnostic(
                "E203", headline, Label(target.span, "an indexed name is bound once for each index"), (Label(binding.span, "first here"),)
            )
        )
        return None

    def _index(self, target: ast.Target) -> tuple[int, ...]:
        index = tuple(self.evaluate.whole(i, "an index") for i in target.indices)
        for number, expr in zip(index, target.indices, strict=True):
            if number < 0:
                refuse("E215", f"the index of a name is at least 0, but this is {number}", expr.span, f"this is {number}")
        return index

    def bind(self, claim: Claim, ref: Ref) -> None:
        """Give a name to a value."""
        place = self.place
        target = claim.target
        value = self.value(ref, claim.shown)
        if not target.indices:
            place.frame.names[target.name] = Binding(value, target.span, "value")
        else:
            owned = place.frame.owner.names
            binding = owned.get(target.name)
            if binding is None or binding.value is POISON:
                binding = owned[target.name] = Binding(Family(target.name), target.span, "indexed name")
            if not isinstance(binding.value, Family) or claim.index in binding.value.values:
                return  # the pipeline itself bound it, and was told so
            binding.value.values[claim.index] = value
        if place.top and (target.indices or not place.suffix):
            self.names[claim.shown] = ref
        self.value_names.setdefault(ref, claim.shown)

    # ------------------------------------------------------------------------------------------------------------------ layers

    def needed(self, flow: Ref | None, what: str, span: Span) -> Ref:
        """The flow; refused where there is none."""
        if flow is None:
            if not self.fed:
                raise Poisoned  # that the network has no input is told once
            refuse(
                "E210", f"there is no value for {what}", span, "nothing flows here", help="start the statement from a name: `image -> …`"
            )
        return flow

    def layer(self, kind: type[Layer], stage: ast.Apply | ast.Module, span: Span) -> tuple[Layer, tuple[Ref, ...], Mapping[str, ast.Arg]]:
        """A layer of a kind with its arguments; the values that it takes by name; the arguments as written, defaults included."""
        defaults = self.place.frame.defaults.get(kind.keyword)
        if type(stage) is ast.Apply:
            known = self._fixed.get(stage)
            if known is not None and known[0] is defaults and known[1] is kind:
                return known[2], (), known[3]
        written, references = bind_arguments(kind, stage.args or ())
        if defaults:
            written = {**defaults, **written}
        extra = tuple(self._referred(kind, name, references, span) for name in kind.references)
        evaluate = self.evaluate
        values = {name: evaluate(arg.value) for name, arg in written.items()}
        key: Any = (kind, tuple(values), tuple(map(frozen, values.values())))
        layer = self._layers.get(key)
        if layer is None:
            layer = self._layers[key] = make_layer(kind, values, written, span)
        if type(stage) is ast.Apply and not extra and all(is_fixed(a.value) for a in written.values()):
            self._fixed[stage] = (defaults, kind, layer, written)
        return layer, extra, written

    def _referred(self, kind: type[Layer], name: str, references: Mapping[str, ast.Arg], span: Span) -> Ref:
        """A value that an op takes by name."""
        arg = references.get(name)
        if arg is None:
            refuse("E208", f"`{kind.keyword}` needs the name of a value: `{kind.keyword}({name})`", span, f"`{name}` is missing")
        value = self.evaluate(arg.value)
        if not isinstance(value, ValueRef) or value.ref is None:
            refuse("E209", f"`{name}` of `{kind.keyword}` must be the name of a value, but this is {show(value)}", arg.span)
        refuse_head(value, arg.span)
        return value.ref

    def add(
        self,
        layer: Layer,
        inputs: tuple[Ref, ...],
        span: Span,
        path: str | None,
        written: Mapping[str, ast.Arg],
        shares: int | None = None,
        shared: bool = False,
    ) -> Ref:
        """Put a layer into the graph, with its shapes."""
        place = self.place
        nodes = self.nodes
        self.step(span)
        arriving = self.arriving(inputs)
        made: tuple[Shape, ...] | None = None
        failure: ShapeError | None = None
        if arriving is not None:
            key = (id(layer), arriving)
            found = self._facts.get(key)
            if found is None:
                found = self._facts[key] = _infer(layer, arriving)
            if isinstance(found, ShapeError):
                failure = found
            else:
                made = found
        own = path or place.naming.next(layer.keyword)
        at = len(nodes)
        nodes.append(Node(at, own, layer, inputs, made, place.scope, span, failure, written, shares, None, shared, self.statement_start))
        place.scope.items.append(at)
        return Ref(at)

    def arriving(self, inputs: tuple[Ref, ...]) -> tuple[Shape, ...] | None:
        """The shapes of some values; None when one is unknown."""
        nodes = self.nodes
        found: list[Shape] = []
        for ref in inputs:
            shapes = nodes[ref.node].shapes
            if shapes is None:
                return None
            found.append(shapes[ref.port])
        return tuple(found)

    def shape(self, expr: ast.Expr) -> Shape:
        """The value of an expression that must be a shape."""
        value = self.evaluate(expr)
        if isinstance(value, int) and not isinstance(value, bool):
            value = Shape((value,))
        if isinstance(value, list) and value and all(type(v) is int for v in value):
            value = Shape(value)
        if not isinstance(value, Shape):
            refuse("E216", f"a shape is written like 3x227x227, but this is {show(value)}", expr.span, f"this is {show(value)}")
        if min(value) < 1:
            refuse("E216", f"every size of a shape must be at least 1, but this is {value}", expr.span, f"this is {value}")
        if value.numel > MAX_NUMEL:
            refuse("E602", f"a value of shape {value} is too large: {value.numel:,} numbers, and {MAX_NUMEL:,} are the most", expr.span)
        return value


def _infer(layer: Layer, inputs: tuple[Shape, ...]) -> tuple[Shape, ...] | ShapeError:
    try:
        shapes = layer.infer(inputs)
    except ShapeError as error:
        return error
    for shape in shapes:
        if min(shape, default=1) < 1:
            return ShapeError(f"`{layer.keyword}` gives an empty value of {shape}", code="E301")
        if shape.numel > MAX_NUMEL:
            return ShapeError(
                f"`{layer.keyword}` gives a value of {shape}: {shape.numel:,} numbers are too many, {MAX_NUMEL:,} are the most", code="E602"
            )
    return shapes


def refuse_head(value: ValueRef, span: Span) -> None:
    """A head's value is not there outside training, so nothing may hang on it."""
    if value.head:
        help = "take the value that the head starts from, or end the head's work in the main flow"
        refuse("E202", f"`{value.name}` is a head: it exists only while training, so nothing can go on from it", span, help=help)


def with_calls(diagnostic: Diagnostic, scope: Scope | None) -> Diagnostic:
    """A problem with the chain of block calls that led to it, nearest first."""
    calls: list[Label] = []
    while scope is not None:
        if scope.kind == "block" and scope.block is not None:
            given = ", ".join(f"{k}={_value(v)}" for k, v in scope.bindings.items() if not isinstance(v, LetValue))
            calls.append(Label(scope.span, f"in this use of `{scope.block.name}`" + (f", with {given}" if given else "")))
        scope = scope.parent
    if not calls:
        return diagnostic
    d = diagnostic
    return Diagnostic(d.code, d.headline, d.at, (*d.also, *calls), d.notes, d.help, d.fixes, d.severity)


def _value(value: Any) -> str:
    """A block's argument in a few words."""
    text = "?" if value is POISON else show(value)
    return text if len(text) <= 60 else text[:59] + "…"
