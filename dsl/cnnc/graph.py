"""The network as a graph: immutable nodes with ordered inputs, the scopes that people wrote, and NetworkX on request.

This is the only module that knows NetworkX, and it imports it when its algorithms are asked for: a plain ``DiGraph`` cannot say
``add(x, x)`` or order the inputs of a concat, so nodes hold their inputs and the ``MultiDiGraph`` is derived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from cnnc.layers.base import Layer
from cnnc.record import record
from cnnc.shapes import Shape, ShapeError
from cnnc.source import Span
from cnnc.syntax import ast

if TYPE_CHECKING:
    import networkx

ScopeKind = Literal["network", "block", "body", "head", "merge", "branch", "if", "loop", "turn"]


@dataclass(frozen=True, slots=True)
class Ref:
    """An output of a node: which node, and which of its outputs."""

    node: int
    port: int = 0


@dataclass(eq=False, slots=True)
class Scope:
    """A piece of structure as written: a network, a block instance, a named body, a head, a merge and its branches, an ``if``,
    a loop and its turns.

    Scopes nest; ``items`` are the nodes (by id) and the scopes inside, in the order of the text. ``path`` is the prefix of the
    layer paths inside: only networks, block instances, named bodies, heads and the like add to it, so a merge or a loop is transparent.
    """

    kind: ScopeKind
    path: str
    parent: Scope | None
    span: Span
    #: the statement, stage or definition that made it
    origin: Any
    #: names and values that expressions inside may use and that this scope itself brought: parameters, loop variables
    bindings: dict[str, Any] = field(default_factory=dict)
    #: the value that came in (block instances, bodies, heads, branches), None where nothing flows
    inputs: tuple[Ref, ...] = ()
    #: the value at the end
    result: Ref | None = None
    items: list[int | Scope] = field(default_factory=list)
    #: block instances: the block definition; heads: the weight; ifs: which side (0, 1, None); turns: the index
    block: ast.Block | None = None
    arguments: Mapping[str, ast.Expr] = field(default_factory=dict)
    taken: int | None = None
    index: int = 0
    weight: float | None = None
    #: applications of a shared module after the first: the scope of the first
    shares: Scope | None = None
    #: whether this is an application of a module that was declared with ``module``
    shared: bool = False
    #: networks and block instances: the names of the file that defines them
    home: Any = None

    def chain(self) -> list[Scope]:
        """This scope and those around it, from the inside out."""
        found: list[Scope] = []
        scope: Scope | None = self
        while scope is not None:
            found.append(scope)
            scope = scope.parent
        return found

    @property
    def head(self) -> Scope | None:
        """The auxiliary head that this scope is or stands in."""
        scope: Scope | None = self
        while scope is not None:
            if scope.kind == "head":
                return scope
            scope = scope.parent
        return None


@dataclass(eq=False, slots=True)
class Node:
    """One layer at one place of the network. Never changed once it is in a graph.

    ``shapes`` are the output shapes; None when the layer refused its input (then ``failure`` says why) or when an input has none.
    ``written`` holds the expressions of the arguments that the spec wrote, for blame and for emission.
    """

    id: int
    path: str
    layer: Layer
    inputs: tuple[Ref, ...]
    shapes: tuple[Shape, ...] | None
    scope: Scope
    span: Span
    failure: ShapeError | None = None
    written: Mapping[str, ast.Arg] = field(default_factory=dict)
    #: the same weights as that node (a shared module used again)
    shares: int | None = None
    #: input nodes: the declared name
    name: str | None = None
    #: whether the layer is an application of a module that was declared with ``module``
    shared: bool = False
    #: where the innermost statement that the layer stands in starts
    statement: int = 0

    @property
    def op(self) -> str:
        """The op's name in the language."""
        return self.layer.keyword

    @property
    def is_input(self) -> bool:
        """Whether this is an input of the network rather than a layer."""
        return self.layer.role == "input"


@record
class Output:
    """A result of the network; ``name`` is None when the spec does not name it."""

    name: str | None
    ref: Ref
    span: Span


@record
class Annotation:
    """A shape that the spec states for a value."""

    ref: Ref
    shape: Shape
    span: Span
    name: str
    #: where the statement stands
    scope: Scope | None = None


@dataclass(frozen=True)
class Graph:
    """A network with everything that was written applied: blocks, loops, conditions.

    ``nodes[i].id == i``, and every node stands after its inputs.
    """

    name: str
    nodes: tuple[Node, ...]
    root: Scope
    outputs: tuple[Output, ...]
    heads: tuple[Scope, ...]
    #: name -> value, as bound at the top level of the network (dotted paths for inner ones)
    names: Mapping[str, Ref]
    parameters: Mapping[str, Any]
    definition: ast.Network
    annotations: tuple[Annotation, ...] = ()
    #: value -> the first name that the spec gives it
    value_names: Mapping[Ref, str] = field(default_factory=dict)
    #: the same network with other values of some parameters, for backends that keep parameters open
    vary: Callable[[Mapping[str, Any]], Graph | None] | None = field(default=None, repr=False)

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The declared inputs, in order."""
        return tuple(n for n in self.nodes if n.is_input)

    @property
    def layers(self) -> tuple[Node, ...]:
        """Every node but the inputs, in execution order."""
        return tuple(n for n in self.nodes if not n.is_input)

    def shape(self, ref: Ref) -> Shape | None:
        """The shape of a value; None when it could not be worked out."""
        shapes = self.nodes[ref.node].shapes
        return None if shapes is None else shapes[ref.port]

    def input_shapes(self, node: Node) -> tuple[Shape, ...] | None:
        """The shapes that arrive at a node; None when one of them is unknown."""
        nodes = self.nodes
        shapes: list[Shape] = []
        for ref in node.inputs:
            made = nodes[ref.node].shapes
            if made is None:
                return None
            shapes.append(made[ref.port])
        return tuple(shapes)

    @cached_property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """For each node the nodes that read it, in order; a node that reads twice stands twice."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for node in self.nodes:
            for ref in node.inputs:
                found[ref.node].append(node.id)
        return tuple(map(tuple, found))

    def to_networkx(self, facts: Sequence[Mapping[str, Any]] | None = None) -> networkx.MultiDiGraph[str]:
        """The graph as a ``networkx.MultiDiGraph`` with layer paths as nodes.

        ``facts[i]`` are further attributes of node i. Edges carry ``port``, ``position`` (which input of the reader) and ``shape``.
        """
        import networkx as nx

        graph: networkx.MultiDiGraph[str] = nx.MultiDiGraph(name=self.name)
        for node in self.nodes:
            extra = facts[node.id] if facts is not None else {}
            graph.add_node(node.path, op=node.op, role=node.layer.role, shapes=node.shapes, layer=node.layer, **extra)
        for node in self.nodes:
            for position, ref in enumerate(node.inputs):
                source = self.nodes[ref.node]
                graph.add_edge(source.path, node.path, port=ref.port, position=position, shape=self.shape(ref))
        return graph

    def unread(self) -> list[Node]:
        """Layers whose value reaches no output and no head's end.

        A layer that nobody reads and that is no result is dead, and so is all that only feeds it; most networks have none, and
        then NetworkX is not even imported.
        """
        kept = {o.ref.node for o in self.outputs} | {h.result.node for h in self.heads if h.result is not None}
        if all(readers or n.id in kept or n.is_input for n, readers in zip(self.nodes, self.readers, strict=True)):
            return []
        import networkx as nx

        graph: nx.DiGraph[int | str] = nx.DiGraph()
        graph.add_nodes_from(range(len(self.nodes)))
        graph.add_edges_from((ref.node, node.id) for node in self.nodes for ref in node.inputs)
        graph.add_edges_from((k, "result") for k in kept)
        graph.add_node("result")
        alive = nx.ancestors(graph, "result")
        return [n for n in self.nodes if n.id not in alive and not n.is_input]
