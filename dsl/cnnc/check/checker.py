"""The checker: every problem of a network that could be built, in the order of the file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from cnnc.check import expectations
from cnnc.check import facts as count_facts
from cnnc.check.facts import LayerFacts, Totals
from cnnc.diagnostics.model import Diagnostic, Edit, Fix, Label, Severity
from cnnc.diagnostics.order import in_order
from cnnc.elaborate.build import Built
from cnnc.elaborate.builder import with_calls
from cnnc.graph import Graph, Node, Scope
from cnnc.shapes import Axis, Shape
from cnnc.source import Span


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


def check(built: Built) -> Checked:
    """The facts of a network and every problem, those of the stages before included."""
    graph = built.graph
    facts = count_facts.count(graph)
    checked = Checked(graph, facts, ())
    problems = list(built.problems)
    problems += _refused(graph)
    problems += _never_read(graph)
    problems += _annotations(graph)
    problems += _results(graph, problems)
    problems += expectations.judge(built, checked)
    problems += _unread(graph, problems)
    return Checked(graph, facts, in_order(problems, graph.definition.span.source))


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
    known: dict[tuple[int, tuple[Shape, ...]], list[tuple[str, Axis]]] = {}
    for node in graph.nodes:
        layer = node.layer
        if node.shapes is None or getattr(layer, "round", "unset") is not None:
            continue
        inputs = graph.input_shapes(node)
        if inputs is None:
            continue
        key = (id(layer), inputs)
        lost = known.get(key)
        if lost is None:
            axes = layer.axes_of(inputs)
            names = _AXES.get(len(axes), ())
            lost = known[key] = [(n, a) for n, a in zip(names, axes, strict=False) if a.unread and a.extent >= a.stride]
        if lost:
            found.append(with_calls(_unread_input(graph, node, inputs[0], lost), node.scope))
    return found


def _unread_input(graph: Graph, node: Node, arriving: Shape, lost: list[tuple[str, Axis]]) -> Diagnostic:
    words = " and ".join(f"{a.unread} {name}{'s' if a.unread != 1 else ''}" for name, a in lost)
    plural = len(lost) > 1 or lost[0][1].unread > 1
    axis = lost[0][1]
    width = axis.width - axis.unread
    return Diagnostic(
        "W301",
        f"{words} of the input {'are' if plural else 'is'} never read: {axis.formula}",
        Label(node.span, f"{arriving} does not tile: rounded down to {axis.out}"),
        _origins(graph, node),
        help=f"`round=floor` says that it is meant, `round=ceil` gives {axis.out + 1}; an input of {width} or {width + axis.stride} tiles",
        severity=Severity.WARNING,
    )


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
            fixes=(Fix("write the shape that comes out", (Edit(note.span, str(shape)),)),),
        )
        found.append(with_calls(problem, note.scope))
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
            scope = _whole(node)
            path, span = (node.path, node.span) if scope is None else (scope.path, scope.span)
            help = "leave it out, or join it to the flow"
            problem = Diagnostic(
                "W201", f"the value of `{path}` is never used", Label(span, "reaches no output"), help=help, severity=Severity.WARNING
            )
            found.append(with_calls(problem, node.scope if scope is None else scope.parent))
        elif node.is_input and not graph.readers[node.id] and all(o.ref.node != node.id for o in graph.outputs):
            at = Label(node.span, "nothing reads it")
            found.append(Diagnostic("W202", f"the input `{node.name}` is never used", at, severity=Severity.WARNING))
    return found


def _whole(node: Node) -> Scope | None:
    """The outermost block instance or named body whose result a node is: what the spec's author sees as one value."""
    found: Scope | None = None
    scope: Scope | None = node.scope
    while scope is not None and scope.result is not None and scope.result.node == node.id and scope.kind not in ("network", "head"):
        if scope.kind == "block" or (scope.kind == "body" and scope.path):
            found = scope
        scope = scope.parent
    return found


__all__ = ["Checked", "check"]
