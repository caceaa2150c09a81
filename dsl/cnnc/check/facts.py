"""Counts and receptive fields of every layer, and their sums. Judges nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from cnnc.graph import Graph, Node
from cnnc.layers.base import EVERYTHING, Layer, Reach
from cnnc.record import record
from cnnc.shapes import Shape

#: Bytes of one number: float32.
BYTES = 4


@record
class Extent:
    """What a value reads of one axis of the network's input.

    Cell ``i`` reads the input cells from ``i * jump + first`` to ``i * jump + last``. ``jump`` is the effective stride; None where
    branches with different strides meet, so that cells do not line up.
    """

    first: Fraction | int
    last: Fraction | int
    jump: Fraction | int | None

    @property
    def size(self) -> int:
        """How many input cells one cell can see."""
        return math.ceil(self.last) - math.floor(self.first) + 1


#: The receptive field of a value: an extent for each axis, "everything", or None when it is not known.
Field = tuple[Extent, ...] | Literal["everything"] | None


@record
class LayerFacts:
    """What one layer costs, for one image.

    ``params``, ``buffers`` are counts of numbers (0 for a layer that shares another's weights), ``macs`` multiply-accumulates of
    convolutions and dense layers, ``ops`` other arithmetic, ``activation`` numbers in the outputs. ``aux`` says that the layer
    exists only while training.
    """

    params: int = 0
    buffers: int = 0
    macs: int = 0
    ops: int = 0
    activation: int = 0
    aux: bool = False
    field: Field = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over a network, or over a part of it; auxiliary heads apart."""

    layers: int = 0
    params: int = 0
    buffers: int = 0
    macs: int = 0
    ops: int = 0
    activation: int = 0
    aux_params: int = 0
    aux_buffers: int = 0
    aux_macs: int = 0


def count(graph: Graph) -> tuple[LayerFacts, ...]:
    """The facts of every node, in order. A node whose shape is unknown counts nothing."""
    known: dict[tuple[int, tuple[Shape, ...]], tuple[int, int, int, int, tuple[Reach, ...] | Literal["everything"]]] = {}
    found: list[LayerFacts] = []
    aux_scopes: dict[int, bool] = {}
    for node in graph.nodes:
        inputs = graph.input_shapes(node)
        scope = id(node.scope)
        aux = aux_scopes.get(scope)
        if aux is None:
            aux = aux_scopes[scope] = node.scope.head is not None
        if node.shapes is None or inputs is None:
            found.append(LayerFacts(aux=aux))
            continue
        if node.is_input:
            shape = node.shapes[0]
            found.append(LayerFacts(activation=shape.numel, field=tuple(Extent(0, 0, 1) for _ in shape.spatial)))
            continue
        layer = node.layer
        key = (id(layer), inputs)
        counts = known.get(key)
        if counts is None:
            counts = known[key] = (
                layer.count_params(inputs),
                layer.count_buffers(inputs),
                layer.count_macs(inputs),
                layer.count_ops(inputs),
                layer.reach_into(inputs),
            )
        params, buffers, macs, ops, reach = counts
        if node.shares is not None:
            params = buffers = 0
        activation = sum(s.numel for s in node.shapes)
        field = _field(found, node, reach)
        found.append(LayerFacts(params, buffers, macs, ops, activation, aux, field))
    return tuple(found)


def _field(found: list[LayerFacts], node: Node, reach: tuple[Reach, ...] | Literal["everything"]) -> Field:
    """The receptive field of a node's value: what its window reaches through the fields of its inputs, joined over branches.

    Araujo, Norris & Sim, "Computing receptive fields of convolutional neural networks", Distill 2019, for the chain; a merge sees
    the union of its branches.
    """
    if reach == EVERYTHING:
        return EVERYTHING
    joined: Field = None
    for position, ref in enumerate(node.inputs):
        if position and node.layer.references:
            break  # a value taken by name lends its size, not its numbers
        field = found[ref.node].field
        if field is None or field == EVERYTHING:
            return field
        if joined is None:
            joined = field
        elif joined is not field:
            joined = _union(joined, field)
            if joined is None:
                return None
    if joined is None or joined == EVERYTHING:
        return joined
    if len(joined) != len(reach):
        return None
    return tuple(_through(e, r) for e, r in zip(joined, reach, strict=True))


def _through(e: Extent, r: Reach) -> Extent:
    if e.jump is None:
        return Extent(e.first + r.first, e.last + r.last, None)
    if r.step == 1 and r.first == 0 and r.last == 0:
        return e
    return Extent(e.first + r.first * e.jump, e.last + r.last * e.jump, e.jump * r.step)


def _union(a: Field, b: Field) -> Field:
    assert isinstance(a, tuple) and isinstance(b, tuple)
    if len(a) != len(b):
        return None
    return tuple(
        Extent(min(p.first, q.first), max(p.last, q.last), p.jump if p.jump == q.jump else None) for p, q in zip(a, b, strict=True)
    )


def total(graph: Graph, facts: Iterable[LayerFacts], nodes: Iterable[Node] | None = None) -> Totals:
    """The sums over all layers, or over some."""
    every = tuple(facts)
    chosen = graph.nodes if nodes is None else tuple(nodes)
    sums = [0] * 9
    for node in chosen:
        if node.is_input:
            continue
        f = every[node.id]
        if f.aux:
            sums[6] += f.params
            sums[7] += f.buffers
            sums[8] += f.macs
        else:
            sums[0] += 1
            sums[1] += f.params
            sums[2] += f.buffers
            sums[3] += f.macs
            sums[4] += f.ops
            sums[5] += f.activation
    return Totals(*sums)


def depth(graph: Graph) -> int:
    """The number of convolutions and dense layers on the longest way from an input to an output: 50 for ResNet-50."""
    longest = [0] * len(graph.nodes)
    for node in graph.nodes:
        before = max((longest[r.node] for r in node.inputs), default=0)
        longest[node.id] = before + (node.layer.role in ("convolution", "dense"))
    return max((longest[o.ref.node] for o in graph.outputs), default=0)


def peak_activations(graph: Graph) -> int:
    """The most numbers alive at once in a forward pass of one image, when every value is dropped after its last reader.

    Auxiliary heads are left out; a view (``flatten``, ``reshape``, ``identity``) takes no room of its own.
    """
    owner = list(range(len(graph.nodes)))
    uses = [0] * len(graph.nodes)
    nodes = [n for n in graph.nodes if n.scope.head is None]
    for node in nodes:
        if is_view(node.layer) and node.inputs:
            owner[node.id] = owner[node.inputs[0].node]
        for ref in node.inputs:
            uses[owner[ref.node]] += 1
    for output in graph.outputs:
        uses[owner[output.ref.node]] += 1
    live = peak = 0
    for node in nodes:
        if owner[node.id] == node.id and node.shapes is not None:
            live += sum(s.numel for s in node.shapes)
            peak = max(peak, live)
        for ref in node.inputs:
            made = owner[ref.node]
            uses[made] -= 1
            shapes = graph.nodes[made].shapes
            if uses[made] == 0 and shapes is not None:
                live -= sum(s.numel for s in shapes)
    return peak


def is_view(layer: Layer) -> bool:
    """Whether a layer's output is its input seen differently."""
    return layer.view


def memory(graph: Graph, facts: tuple[LayerFacts, ...]) -> int:
    """Bytes that a forward pass of one image needs in float32: parameters, buffers and the peak of the activations."""
    sums = total(graph, facts)
    return BYTES * (sums.params + sums.buffers + peak_activations(graph))


def receptive_field(graph: Graph, facts: tuple[LayerFacts, ...]) -> int | None:
    """The receptive field of the last map that does not read everything: the larger side, in input cells."""
    best: int | None = None
    for node in graph.nodes:
        f = facts[node.id]
        if isinstance(f.field, tuple) and f.field and not f.aux:
            size = max(e.size for e in f.field)
            best = size if best is None else max(best, size)
    return best
