"""The checker: every problem of a network that could be built, in the order of the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cnnc.check import facts as count_facts
from cnnc.check.facts import LayerFacts, Totals
from cnnc.diagnostics.model import Diagnostic, Label, Severity
from cnnc.elaborate.build import Built, Expectation, with_calls
from cnnc.elaborate.values import SYMBOLS, Evaluator, Poisoned, Refusal, ValueRef, nearest, refuse, shape_property, show
from cnnc.graph import Graph, Node, Ref, Scope
from cnnc.layers.init import INITS
from cnnc.shapes import Shape
from cnnc.source import Span
from cnnc.syntax import ast


@dataclass(frozen=True)
class Checked:
    """A network with its facts. ``facts[i]`` are those of node i; ``problems`` are all of the file, in its order.

    Backends take this type, and refuse one with errors.
    """

    graph: Graph
    facts: tuple[LayerFacts, ...]
    problems: tuple[Diagnostic, ...]

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The problems that stop a backend."""
        return tuple(p for p in self.problems if p.severity is Severity.ERROR)

    @cached_property
    def totals(self) -> Totals:
        """The sums over the network, auxiliary heads apart."""
        return count_facts.total(self.graph, self.facts)

    @cached_property
    def depth(self) -> int:
        """Convolutions and dense layers on the longest way through."""
        return count_facts.depth(self.graph)

    @cached_property
    def peak_activations(self) -> int:
        """The most numbers alive at once in a forward pass of one image."""
        return count_facts.peak_activations(self.graph)

    @cached_property
    def memory(self) -> int:
        """Bytes of a forward pass of one image in float32."""
        return count_facts.memory(self.graph, self.facts)

    @cached_property
    def receptive_field(self) -> int | None:
        """The largest receptive field of a map, in input cells; None when there is none."""
        return count_facts.receptive_field(self.graph, self.facts)


def check(built: Built, earlier: tuple[Diagnostic, ...] = ()) -> Checked:
    """The facts of a network and every problem; ``earlier`` are problems of the stages before."""
    graph = built.graph
    facts = count_facts.count(graph)
    checked = Checked(graph, facts, ())
    problems = [*earlier, *built.problems]
    problems += _refused(graph)
    problems += _never_read(graph)
    problems += _annotations(graph)
    problems += _results(graph, problems)
    problems += _expectations(built, checked)
    problems += _unread(graph, problems)
    return Checked(graph, facts, _in_order(problems, graph))


def _in_order(problems: list[Diagnostic], graph: Graph) -> tuple[Diagnostic, ...]:
    """Each mistake once, sorted by place; problems of the network's own file come last to first import."""
    seen: set[tuple[str, int, int, int]] = set()
    kept: list[Diagnostic] = []
    for problem in problems:
        span = problem.at.span
        key = (problem.code, id(span.source), span.start, span.end)
        if key not in seen:
            seen.add(key)
            kept.append(problem)
    home = graph.definition.span.source
    return tuple(sorted(kept, key=lambda p: (p.at.span.source is not home, p.at.span.source.name, p.at.span.start, p.severity.value)))


def _at(node: Node, field: str | None) -> Span:
    """The place to blame: the argument as written, else the layer."""
    arg = node.written.get(field) if field is not None else None
    return arg.span if arg is not None else node.span


def _origins(graph: Graph, node: Node) -> tuple[Label, ...]:
    """Where the shapes that arrive were made."""
    labels: list[Label] = []
    several = len(node.inputs) > 1
    for ref in node.inputs:
        source = graph.nodes[ref.node]
        shape = graph.shape(ref)
        if shape is None or any(label.span == source.span for label in labels):
            continue
        labels.append(Label(source.span, f"{shape} comes from here" + (f" (`{source.path}`)" if several else "")))
    return tuple(labels)


def _refused(graph: Graph) -> list[Diagnostic]:
    """Layers that refuse their input: the root causes of unknown shapes."""
    found: list[Diagnostic] = []
    for node in graph.nodes:
        failure = node.failure
        if failure is None:
            continue
        at = Label(_at(node, failure.field), failure.label)
        problem = Diagnostic(failure.code, failure.message, at, _origins(graph, node), failure.notes, failure.help)
        found.append(with_calls(problem, node.scope))
    return found


_AXES = {1: ("cell",), 2: ("row", "column"), 3: ("plane", "row", "column")}


def _never_read(graph: Graph) -> list[Diagnostic]:
    """Windows that leave rows or columns of the input unread, where the spec does not say that it is meant."""
    found: list[Diagnostic] = []
    seen: set[tuple[int, tuple[Shape, ...]]] = set()
    for node in graph.nodes:
        layer = node.layer
        if node.shapes is None or node.is_input or getattr(layer, "round", "unset") is not None:
            continue
        inputs = graph.input_shapes(node)
        if inputs is None or (id(layer), inputs) in seen:
            continue
        seen.add((id(layer), inputs))
        axes = layer.axes_of(inputs)
        lost = [(name, a) for name, a in zip(_AXES.get(len(axes), ()), axes, strict=False) if a.unread and a.extent >= a.stride]
        if not lost:
            continue
        words = " and ".join(f"{a.unread} {name}{'s' if a.unread != 1 else ''}" for name, a in lost)
        plural = len(lost) > 1 or lost[0][1].unread > 1
        axis = lost[0][1]
        width = axis.width - axis.unread
        problem = Diagnostic(
            "W301",
            f"{words} of the input {'are' if plural else 'is'} never read: {axis.formula}",
            Label(node.span, f"{inputs[0]} does not tile: rounded down to {axis.out}"),
            _origins(graph, node),
            help=f"`round=floor` says that it is meant, `round=ceil` gives {axis.out + 1}; an input of {width} or {width + axis.stride} tiles",
            severity=Severity.WARNING,
        )
        found.append(with_calls(problem, node.scope))
    return found


def _annotations(graph: Graph) -> list[Diagnostic]:
    """Shapes that the spec states and that are others."""
    found: list[Diagnostic] = []
    for note in graph.annotations:
        shape = graph.shape(note.ref)
        if shape is None or shape == note.shape:
            continue
        node = graph.nodes[note.ref.node]
        formulas: tuple[str, ...] = ()
        inputs = graph.input_shapes(node)
        if inputs is not None and not node.is_input:
            formulas = tuple(dict.fromkeys(a.formula for a in node.layer.axes_of(inputs)))
        problem = Diagnostic(
            "E402",
            f"`{note.name}` is {shape}, not {note.shape}",
            Label(note.span, f"says {note.shape}"),
            (Label(node.span, f"{shape} comes from here"),),
            formulas,
            help=f"write {shape}, or change the layer",
        )
        found.append(with_calls(problem, node.scope if node.scope.kind == "block" else node.scope.parent))
    return found


def _results(graph: Graph, problems: list[Diagnostic]) -> list[Diagnostic]:
    """A network without a result; an output that is the bare input."""
    if graph.outputs or problems:
        return []
    definition = graph.definition
    return [
        Diagnostic(
            "E509",
            f"the network `{graph.name}` has no output",
            Label(definition.name_span),
            help="end the body with the layer whose value is the result, or name it with `output`",
        )
    ]


def _unread(graph: Graph, problems: list[Diagnostic]) -> list[Diagnostic]:
    """Layers whose value reaches no result: the last of each dead chain is named."""
    if any(p.severity is Severity.ERROR for p in problems):
        return []
    dead = {n.id for n in graph.unread()}
    found: list[Diagnostic] = []
    for node in graph.nodes:
        if node.id in dead and not any(r in dead for r in graph.readers[node.id]):
            found.append(
                Diagnostic(
                    "W201",
                    f"the value of `{node.path}` is never used",
                    Label(node.span, "reaches no output"),
                    help="leave it out, or join it to the flow",
                    severity=Severity.WARNING,
                )
            )
        elif node.is_input and not graph.readers[node.id] and all(o.ref.node != node.id for o in graph.outputs):
            found.append(
                Diagnostic("W202", f"the input `{node.name}` is never used", Label(node.span, "nothing reads it"), severity=Severity.WARNING)
            )
    return found


# ------------------------------------------------------------------------------------------------------------------- expectations

_FACTS = ("params", "macs", "layers", "depth", "memory", "receptive_field", "buffers", "ops")
_UNITS = {"memory": " bytes"}


class _Facts(Evaluator):
    """Expressions in which names of facts have a meaning, for the network or for a named part of it."""

    def __init__(self, checked: Checked, expectation: Expectation) -> None:
        super().__init__(self._find)
        self.checked = checked
        self.expectation = expectation

    def _find(self, name: str, span: Span) -> Any:
        binding = self.expectation.frame.find(name)
        if binding is not None:
            binding.used = True
            if type(binding.value).__name__ == "_Poison":
                raise Poisoned
            return binding.value
        if name in _FACTS:
            return self._fact(name, self._inside(self.expectation.scope), self.expectation.scope, span)
        if name in SYMBOLS or name in INITS:
            return name
        guess = nearest(name, [*_FACTS, *self.expectation.frame.visible()])
        refuse(
            "E204",
            f"`{name}` is no fact and no name",
            span,
            help=f"did you mean `{guess}`?" if guess else f"the facts are {', '.join(_FACTS)}",
        )

    def _inside(self, scope: Scope) -> list[Node]:
        if scope.kind == "network":
            return list(self.checked.graph.layers)
        prefix = scope.path + "."
        return [n for n in self.checked.graph.layers if n.path.startswith(prefix)]

    def _fact(self, name: str, nodes: list[Node], scope: Scope | None, span: Span) -> Any:
        checked = self.checked
        if name in ("depth", "memory", "receptive_field"):
            if scope is None or scope.kind != "network":
                refuse("E401", f"`{name}` is a fact of the whole network", span)
            if any(n.shapes is None for n in checked.graph.nodes):
                raise Poisoned
            value = getattr(checked, name)
            if value is None:
                refuse("E401", "this network has no map, so it has no receptive field", span)
            return value
        if any(n.shapes is None for n in nodes):
            raise Poisoned
        if name == "layers":
            return sum(1 for n in nodes if not checked.facts[n.id].aux)
        whole = scope is not None
        chosen = [checked.facts[n.id] for n in nodes if not (whole and checked.facts[n.id].aux)]
        return sum(getattr(f, name) for f in chosen)

    def _attribute(self, expr: ast.Attribute) -> Any:
        if expr.name not in (*_FACTS, "receptive_field") or expr.name == "depth":
            return super()._attribute(expr)
        value = self(expr.base)
        if not isinstance(value, ValueRef):
            refuse("E206", f"`.{expr.name}` needs a named part of the network, but this is {show(value)}", expr.span)
        if expr.name == "receptive_field":
            return self._field_of(value.ref, expr.span)
        graph = self.checked.graph
        prefix = self.expectation.scope
        while prefix.kind in ("if", "loop", "turn", "merge", "branch"):
            assert prefix.parent is not None
            prefix = prefix.parent
        path = f"{prefix.path}.{value.name}" if prefix.path else value.name
        inside = [n for n in graph.layers if n.path == path or n.path.startswith((path + ".", path + "["))]
        if not inside:
            inside = [graph.nodes[value.ref.node]]
        return self._fact(expr.name, inside, None, expr.span)

    def _field_of(self, ref: Ref, span: Span) -> int:
        field = self.checked.facts[ref.node].field
        if self.checked.graph.nodes[ref.node].shapes is None:
            raise Poisoned
        if not isinstance(field, tuple) or not field:
            refuse("E401", "this value sees the whole input, or is no map: it has no receptive field", span)
        return max(e.size for e in field)


def _shown(value: Any) -> str:
    return f"{value:,}".replace(",", "_") if isinstance(value, int) and not isinstance(value, bool) else show(value)


def _expectations(built: Built, checked: Checked) -> list[Diagnostic]:
    found: list[Diagnostic] = []
    for expectation in built.expectations:
        condition = expectation.condition
        assert isinstance(condition, ast.Binary)
        evaluate = _Facts(checked, expectation)
        try:
            left, right = evaluate(condition.left), evaluate(condition.right)
            problem = _compare(condition, left, right, expectation)
        except Refusal as refusal:
            problem = refusal.diagnostic
        except Poisoned:
            continue
        if problem is not None:
            found.append(with_calls(problem, expectation.scope))
    return found


def _compare(condition: ast.Binary, left: Any, right: Any, expectation: Expectation) -> Diagnostic | None:
    if isinstance(left, Shape) or isinstance(right, Shape):
        left, right = (Shape((v,)) if isinstance(v, int) and not isinstance(v, bool) else v for v in (left, right))
        if condition.op not in ("==", "!="):
            refuse("E401", "shapes are compared with == or !=", condition.span)
    elif any(isinstance(v, bool) or not isinstance(v, int | float | str) for v in (left, right)):
        refuse("E401", f"{show(left)} cannot be compared with {show(right)}", condition.span)
    elif isinstance(left, str) is not isinstance(right, str):
        refuse("E401", f"{show(left)} cannot be compared with {show(right)}", condition.span)
    if _HOLDS[condition.op](left, right):
        return None
    text = condition.left.span.text
    difference = ""
    if condition.op == "==" and not isinstance(left, Shape | str):
        difference = f", {_shown(abs(left - right))} {'more' if left > right else 'fewer'}"
    return Diagnostic(
        "E403",
        f"`{text}` is {_shown(left)}{difference}: `{text} {condition.op} {_shown(right)}` does not hold",
        Label(expectation.span, f"{text} is {_shown(left)}"),
        help="correct the layers, or the number" if condition.op == "==" else None,
    )


_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: bool(a == b),
    "!=": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}

__all__ = ["Checked", "check", "shape_property"]
