"""Two networks side by side: which layers are the same, changed, renamed, added or removed. Judges nothing and prints nothing.

A layer's path is what names its weights in a ``state_dict``, so layers of one path belong together whatever else became of them. Among
the others, the same ops with the same attributes and shapes, in the same order between the layers already paired, are renamed ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

from cnnc.check import Checked
from cnnc.graph import Graph, Node, Ref
from cnnc.layers.base import describe
from cnnc.shapes import Shape

#: What became of a layer. ``renamed``: only its path is another.
Change = Literal["same", "changed", "renamed", "added", "removed"]

#: The facts of a network as a whole that are compared; None where one cannot be worked out.
TOTALS = ("layers", "params", "buffers", "macs", "ops", "depth", "memory", "receptive_field", "aux_params", "aux_macs")


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of one side. ``shapes`` is None, and the counts mean nothing, where the layer has an error."""

    path: str
    op: str
    attributes: Mapping[str, str]
    shapes: tuple[Shape, ...] | None
    params: int
    buffers: int
    macs: int
    aux: bool

    @property
    def shape(self) -> str:
        """The output shapes as text, ``?`` where they are not known."""
        return "?" if self.shapes is None else " ".join(dict.fromkeys(map(str, self.shapes)))


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that a layer is on the two sides: ``stride`` 1 and 2. ``of`` says what kind of thing."""

    of: Literal["path", "op", "attribute", "shape", "params", "buffers", "macs", "reads", "training"]
    name: str
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A layer on both sides, or on one."""

    a: Layer | None
    b: Layer | None
    change: Change
    differences: tuple[Difference, ...] = ()

    @property
    def path(self) -> str:
        """The path on the newer side that has the layer."""
        one = self.b or self.a
        assert one is not None
        return one.path

    @property
    def known(self) -> bool:
        """Whether the layer could be worked out on the sides that have it."""
        return all(side is None or side.shapes is not None for side in (self.a, self.b))

    def delta(self, name: Literal["params", "buffers", "macs"]) -> int | None:
        """How much more the layer costs on side b; one that is not there costs nothing. None where that is not known."""
        if not self.known:
            return None
        before: int = getattr(self.a, name) if self.a is not None else 0
        after: int = getattr(self.b, name) if self.b is not None else 0
        return after - before


@dataclass(frozen=True)
class Comparison:
    """Two networks, layer by layer in the order of ``b``, with what ``a`` alone has where it stood.

    ``outputs`` says how the results differ in name or source. A side is None where the network is on the other side only.
    """

    a: Checked | None
    b: Checked | None
    pairs: tuple[Pair, ...]
    outputs: tuple[Difference, ...] = ()

    @property
    def known(self) -> bool:
        """Whether every layer could be worked out; if not, the totals are those of the others."""
        return all(p.known for p in self.pairs)

    @property
    def equal(self) -> bool:
        """Whether both compute the same with the same names; comments, stated facts and the text's own structure do not matter."""
        return self.a is not None and self.b is not None and not self.outputs and all(p.change == "same" for p in self.pairs)

    def total(self, side: Literal["a", "b"], name: str) -> int | None:
        """One of ``TOTALS`` on one side; 0 for a network that is not there, None for what cannot be worked out."""
        checked = self.a if side == "a" else self.b
        if checked is None:
            return 0
        holder = checked if name in ("depth", "memory", "receptive_field") else checked.totals
        found: int | None = getattr(holder, name)
        return found

    def delta(self, name: str) -> int | None:
        """How much a total grows from ``a`` to ``b``."""
        before, after = self.total("a", name), self.total("b", name)
        return None if before is None or after is None else after - before

    def count(self, change: Change) -> int:
        """How many layers changed in this way."""
        return sum(p.change == change for p in self.pairs)


def compare(a: Checked | None, b: Checked | None) -> Comparison:
    """The layers of two networks beside each other. None stands for a network that is not there."""
    if a is None or b is None:
        return Comparison(a, b, _one_side(a, b))
    left, right = _layers(a), _layers(b)
    partner = _align(left, right)
    reads = _Reads(a.graph, b.graph, partner)
    found = []
    for j, layer in enumerate(right):
        i = partner.get(j)
        found.append(Pair(None, layer, "added") if i is None else _pair(left[i], layer, reads(i, j)))
    return Comparison(a, b, _with_removed(left, partner, found), reads.outputs())


def _one_side(a: Checked | None, b: Checked | None) -> tuple[Pair, ...]:
    if a is not None:
        return tuple(Pair(layer, None, "removed") for layer in _layers(a))
    return tuple(Pair(None, layer, "added") for layer in _layers(b)) if b is not None else ()


def _layers(checked: Checked) -> list[Layer]:
    found = []
    for node, facts in zip(checked.graph.nodes, checked.facts, strict=True):
        found.append(Layer(node.path, node.op, _attributes(node), node.shapes, facts.params, facts.buffers, facts.macs, facts.aux))
    return found


def _attributes(node: Node) -> dict[str, str]:
    """The arguments of a layer, given or not, as the language writes them; those without a value left out."""
    values = {name: getattr(node.layer, name) for name in type(node.layer).model_fields}
    return {name: _written(value) for name, value in values.items() if value is not None}


def _written(value: Any) -> str:
    """A value as the language writes it; a size that is the same for all axes is one number."""
    if isinstance(value, str) and value.isidentifier():
        return value
    if isinstance(value, tuple) and value and all(isinstance(v, int) for v in value) and len(set(value)) == 1:
        return describe(value[0])
    return describe(value)


# ------------------------------------------------------------------------------------------------------------------- alignment


def _align(left: Sequence[Layer], right: Sequence[Layer]) -> dict[int, int]:
    """For layers of the right side, by number, the layer of the left side that each was."""
    at = {layer.path: i for i, layer in enumerate(left)}
    partner = {j: at[layer.path] for j, layer in enumerate(right) if layer.path in at}
    taken = set(partner.values())
    if len(taken) == len(left) or len(partner) == len(right):
        return partner
    # Paths stand for the pairs that are known, so that what is paired here lies between the same neighbours.
    keys = [_key(layer, i in taken) for i, layer in enumerate(left)]
    others = [_key(layer, j in partner) for j, layer in enumerate(right)]
    for i, j, size in SequenceMatcher(None, keys, others, autojunk=False).get_matching_blocks():
        for k in range(size):
            partner.setdefault(j + k, i + k)
    return partner


def _key(layer: Layer, paired: bool) -> Any:
    if paired:
        return layer.path
    return (layer.op, tuple(layer.attributes.items()), layer.shapes)


def _with_removed(left: Sequence[Layer], partner: Mapping[int, int], found: Sequence[Pair]) -> tuple[Pair, ...]:
    """All pairs, with the layers of the left side that have none behind those they stood behind."""
    place = {i: j for j, i in partner.items()}
    behind: dict[int, list[Pair]] = {}
    last = -1
    for i, layer in enumerate(left):
        if i in place:
            last = place[i]
        else:
            behind.setdefault(last, []).append(Pair(layer, None, "removed"))
    pairs = [*behind.get(-1, ())]
    for j, pair in enumerate(found):
        pairs.append(pair)
        pairs += behind.get(j, ())
    return tuple(pairs)


def _pair(a: Layer, b: Layer, reads: Difference | None) -> Pair:
    found: list[Difference] = []
    if a.op != b.op:
        found.append(Difference("op", "op", a.op, b.op))
    else:
        for name in dict.fromkeys((*a.attributes, *b.attributes)):
            before, after = a.attributes.get(name, "unset"), b.attributes.get(name, "unset")
            if before != after:
                found.append(Difference("attribute", name, before, after))
    if a.aux != b.aux:
        found.append(Difference("training", "training only", *("yes" if aux else "no" for aux in (a.aux, b.aux))))
    if reads is not None:
        found.append(reads)
    if a.shapes != b.shapes:
        found.append(Difference("shape", "shape", a.shape, b.shape))
    if a.params != b.params:
        found.append(Difference("params", "params", str(a.params), str(b.params)))
    if a.buffers != b.buffers:
        found.append(Difference("buffers", "buffers", str(a.buffers), str(b.buffers)))
    if a.macs != b.macs:
        found.append(Difference("macs", "macs", str(a.macs), str(b.macs)))
    change: Change = "changed" if found else "same"
    if a.path != b.path:
        found.insert(0, Difference("path", "path", a.path, b.path))
        change = "renamed" if change == "same" else change
    return Pair(a, b, change, tuple(found))


# ------------------------------------------------------------------------------------------------------------------------ wiring


class _Reads:
    """Where layers take their inputs from. What is new or gone between two layers, be it a whole block, does not rewire them."""

    def __init__(self, a: Graph, b: Graph, partner: Mapping[int, int]) -> None:
        self.a, self.b = a, b
        kept = set(partner.values())
        self._left = _origins(a, {i: i for i in kept})
        self._right = _origins(b, partner)

    def __call__(self, i: int, j: int) -> Difference | None:
        """How the inputs of two paired nodes differ, if they do."""
        ours, theirs = self.a.nodes[i].inputs, self.b.nodes[j].inputs
        if [_from(self._left, r) for r in ours] == [_from(self._right, r) for r in theirs]:
            return None
        return Difference("reads", "reads", _named(self.a, ours), _named(self.b, theirs))

    def outputs(self) -> tuple[Difference, ...]:
        """How the results of the networks differ."""
        ours = [(o.name, _from(self._left, o.ref)) for o in self.a.outputs]
        theirs = [(o.name, _from(self._right, o.ref)) for o in self.b.outputs]
        if ours == theirs:
            return ()
        return (Difference("reads", "outputs", _results(self.a), _results(self.b)),)


#: For each node its pair's number on the left side; for one without a pair, the paired values that it is made of.
_Origins = list[int | frozenset[tuple[int, int]]]


def _origins(graph: Graph, pairs: Mapping[int, int]) -> _Origins:
    found: _Origins = []
    for node in graph.nodes:
        known = pairs.get(node.id)
        found.append(known if known is not None else frozenset().union(*(_from(found, r) for r in node.inputs)))
    return found


def _from(origins: _Origins, ref: Ref) -> frozenset[tuple[int, int]]:
    origin = origins[ref.node]
    return frozenset({(origin, ref.port)}) if isinstance(origin, int) else origin


def _named(graph: Graph, refs: Sequence[Ref]) -> str:
    return ", ".join(graph.nodes[r.node].path for r in refs) or "nothing"


def _results(graph: Graph) -> str:
    return ", ".join(o.name or graph.nodes[o.ref.node].path for o in graph.outputs) or "none"


__all__ = ["TOTALS", "Change", "Comparison", "Difference", "Layer", "Pair", "compare"]
