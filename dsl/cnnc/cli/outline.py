"""The rows of ``cnnc shapes``: layers in execution order inside the blocks, bodies and heads that people named, with subtotals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cnnc.check import Checked, LayerFacts
from cnnc.check.facts import Field
from cnnc.cli.table import Column, Row
from cnnc.graph import Node, Ref, Scope
from cnnc.shapes import Shape, ShapeError, number

#: What a cell shows that could not be worked out.
UNKNOWN = "?"


@dataclass(slots=True)
class Sums:
    """Counts of some layers together."""

    layers: int = 0
    params: int = 0
    buffers: int = 0
    macs: int = 0
    ops: int = 0
    activation: int = 0
    #: whether a layer among them is unknown, so that the counts are too low
    partial: bool = False

    def add(self, facts: LayerFacts, known: bool) -> None:
        """Count one more layer."""
        self.layers += 1
        self.params += facts.params
        self.buffers += facts.buffers
        self.macs += facts.macs
        self.ops += facts.ops
        self.activation += facts.activation
        self.partial = self.partial or not known


@dataclass(eq=False, slots=True)
class Group:
    """A block instance, a named body, a head, or the network itself, with what is inside in execution order."""

    path: str
    scope: Scope
    items: list[Node | Group] = field(default_factory=list)
    sums: Sums = field(default_factory=Sums)


def outline(checked: Checked) -> tuple[Group, list[Group]]:
    """The network without its heads, and the heads."""
    graph = checked.graph
    root = Group("", graph.root)
    heads: dict[str, Group] = {}
    groups: dict[str, Group] = {"": root}
    chains: dict[int, list[Group]] = {}
    for node in graph.nodes:
        chain = chains.get(id(node.scope))
        if chain is None:
            chain = chains[id(node.scope)] = _chain(node.scope, root, groups, heads)
        chain[-1].items.append(node)
        if not node.is_input:
            for group in chain:
                group.sums.add(checked.facts[node.id], node.shapes is not None)
    return root, list(heads.values())


def _chain(scope: Scope, root: Group, groups: dict[str, Group], heads: dict[str, Group]) -> list[Group]:
    """The groups around a scope, from the outside in; new ones are put where they stand."""
    chain = [root]
    for outer in reversed(scope.chain()):
        if outer.path == chain[-1].path or not outer.path:
            continue
        group = groups.get(outer.path)
        if group is None:
            group = groups[outer.path] = Group(outer.path, outer)
            if outer.kind == "head":
                heads[outer.path] = group
            else:
                chain[-1].items.append(group)
        chain = [group] if outer.kind == "head" else [*chain, group]
    return chain


# --------------------------------------------------------------------------------------------------------------------- the cells


@dataclass(frozen=True, slots=True)
class Line:
    """A row before it is text: a layer or a group at its level, with the sums that its shares are of."""

    checked: Checked
    item: Node | Group
    label: str
    whole: Sums
    open: bool = False

    @property
    def value(self) -> Ref | None:
        """The value that the row ends in."""
        return Ref(self.item.id) if isinstance(self.item, Node) else self.item.scope.result

    @property
    def known(self) -> bool:
        """Whether the row's counts are all there."""
        return self.item.shapes is not None if isinstance(self.item, Node) else not self.item.sums.partial

    def count(self, name: str) -> int:
        """One of the counts, by its name."""
        owner = self.checked.facts[self.item.id] if isinstance(self.item, Node) else self.item.sums
        found = getattr(owner, name)
        assert isinstance(found, int)
        return found


def _shape(checked: Checked, ref: Ref | None) -> str:
    shape = None if ref is None else checked.graph.shape(ref)
    return UNKNOWN if shape is None else str(shape)


def _output(line: Line) -> str:
    if isinstance(line.item, Node) and line.item.shapes is not None:
        return " ".join(dict.fromkeys(map(str, line.item.shapes)))
    return _shape(line.checked, line.value)


def _sources(line: Line) -> tuple[Ref, ...]:
    return line.item.inputs if isinstance(line.item, Node) else line.item.scope.inputs


def _op(line: Line) -> str:
    if isinstance(line.item, Node):
        return line.item.op
    scope = line.item.scope
    if scope.kind == "head":
        return "head" if scope.weight is None else f"head ×{number(scope.weight)}"
    return scope.block.name if scope.block is not None else "" if line.open else f"{line.item.sums.layers:,} layers"


def _same(values: Sequence[str]) -> str:
    """One text for all axes if they agree, else joined by ``x``."""
    return values[0] if len(set(values)) == 1 else "x".join(values)


def _text(value: object, default: str) -> str:
    if value is None:
        return default
    if isinstance(value, tuple):
        return _same(["+".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in value])
    return str(value)


def window(layer: object, inputs: tuple[Shape, ...] | None, role: str) -> str:
    """Kernel, stride, padding and, where there are several, groups: ``11/4/0``, ``5/1/2/2``. ``d2`` behind a kernel: dilation 2."""
    size = getattr(layer, "size", None)
    if size is None or role not in ("convolution", "pooling", "normalisation"):
        return ""
    if not hasattr(layer, "pad"):
        return _text(size, "") if role == "normalisation" else ""
    kernel = _text(size, "")
    dilation = _text(getattr(layer, "dilation", 1), "1")
    stride = _text(getattr(layer, "stride", None), kernel)
    pad = _pad(layer, inputs)
    groups = getattr(layer, "groups", 1)
    if getattr(layer, "keyword", "") == "depthwise" and inputs is not None:
        groups = inputs[0].channels
    return f"{kernel}{'' if dilation == '1' else f'd{dilation}'}/{stride}/{pad}" + (f"/{groups}" if groups != 1 else "")


def _pad(layer: object, inputs: tuple[Shape, ...] | None) -> str:
    """The padding that is really there: what ``same`` comes to, for instance."""
    axes_of = getattr(layer, "axes_of", None)
    try:
        axes = axes_of(inputs) if axes_of is not None and inputs is not None else ()
    except ShapeError:
        axes = ()
    if axes and getattr(layer, "pad", None) == "same":
        return _same([str(a.before) if a.before == a.after else f"{a.before}+{a.after}" for a in axes])
    return _text(getattr(layer, "pad", 0), "0")


def _window(line: Line) -> str:
    node = line.item
    if not isinstance(node, Node):
        return ""
    return window(node.layer, line.checked.graph.input_shapes(node), node.layer.role)


def reach(found: Field) -> str:
    """A receptive field and its jump: ``195/32``, ``9x1/4``, ``all``. The jump is ``?`` where branches do not line up."""
    if found == "everything":
        return "all"
    if not isinstance(found, tuple) or not found:
        return ""
    jumps = ["?" if e.jump is None else number(float(e.jump)) for e in found]
    return f"{_same([str(e.size) for e in found])}/{_same(jumps)}"


def _field(line: Line) -> str:
    ref = line.value
    return "" if ref is None else reach(line.checked.facts[ref.node].field)


def _count(name: str) -> Callable[[Line], str]:
    def cell(line: Line) -> str:
        node = line.item
        if name in ("params", "buffers") and isinstance(node, Node) and node.shares is not None:
            return "shared" if getattr(line.checked.facts[node.shares], name) else ""
        found = line.count(name)
        if not line.known and isinstance(node, Node):
            return UNKNOWN
        return f"{found:,}" if found else ""

    return cell


def _share(name: str) -> Callable[[Line], str]:
    def cell(line: Line) -> str:
        return share(line.count(name), getattr(line.whole, name))

    return cell


def share(part: int, whole: int) -> str:
    """A part in per cent of the whole; empty for nothing."""
    if not part or not whole:
        return ""
    percent = 100 * part / whole
    return "<0.1" if percent < 0.05 else f"{percent:.1f}"


def _from(line: Line) -> str:
    nodes = line.checked.graph.nodes
    return ", ".join(nodes[r.node].path for r in _sources(line))


def _line(line: Line) -> str:
    span = line.item.span if isinstance(line.item, Node) else line.item.scope.span
    home = line.checked.graph.definition.span.source
    return str(span.line) if span.source is home else f"{span.source.name}:{span.line}"


#: Column name -> title, whether it holds numbers, and the text of a cell.
COLUMNS: Mapping[str, tuple[Column, Callable[[Line], str]]] = {
    "layer": (Column("layer", fold=True), lambda line: line.label),
    "op": (Column("op", fold=True), _op),
    "window": (Column("k/s/p/g"), _window),
    "in": (Column("input", fold=True), lambda line: " ".join(dict.fromkeys(_shape(line.checked, r) for r in _sources(line)))),
    "output": (Column("output"), _output),
    "params": (Column("params", right=True), _count("params")),
    "params%": (Column("%", right=True, close=True), _share("params")),
    "macs": (Column("MACs", right=True), _count("macs")),
    "macs%": (Column("%", right=True, close=True), _share("macs")),
    "field": (Column("RF/jump", right=True), _field),
    "from": (Column("from", fold=True), _from),
    "activation": (Column("activation", right=True), _count("activation")),
    "buffers": (Column("buffers", right=True), _count("buffers")),
    "ops": (Column("other ops", right=True), _count("ops")),
    "line": (Column("line", right=True), _line),
}

DEFAULT = ("layer", "op", "window", "output", "params", "params%", "macs", "macs%", "field")


# ---------------------------------------------------------------------------------------------------------------------- the rows


def rows(checked: Checked, group: Group, whole: Sums, depth: int | None, names: Sequence[str]) -> Iterator[Row]:
    """The rows inside a group; groups ``depth`` levels down are one row each."""
    cells = [COLUMNS[name][1] for name in names]
    for line, style in _lines(checked, group, whole, 1, depth):
        yield Row([cell(line) for cell in cells], style)


def _lines(checked: Checked, group: Group, whole: Sums, level: int, depth: int | None) -> Iterator[tuple[Line, str]]:
    indent = "  " * (level - 1)
    prefix = len(group.path) + 1 if group.path else 0
    for item in group.items:
        label = indent + (item.path[prefix:] or item.path.rpartition(".")[2])
        if isinstance(item, Node):
            yield Line(checked, item, label, whole), "red" if item.failure is not None else ""
            continue
        opened = depth is None or level < depth
        yield Line(checked, item, label, whole, opened), "bold" if opened else ""
        if opened:
            yield from _lines(checked, item, whole, level + 1, depth)


def group_row(checked: Checked, group: Group, whole: Sums, names: Sequence[str], label: str) -> Row:
    """A row for a group as a whole."""
    line = Line(checked, group, label, whole, True)
    return Row([COLUMNS[name][1](line) for name in names], "bold")


def total_row(sums: Sums, names: Sequence[str], label: str) -> Row:
    """The sums below a section."""
    cells = {
        "layer": label,
        "op": f"{sums.layers:,} layers",
        "params": f"{sums.params:,}",
        "params%": share(sums.params, sums.params),
        "macs": f"{sums.macs:,}",
        "macs%": share(sums.macs, sums.macs),
        "activation": f"{sums.activation:,}",
        "buffers": f"{sums.buffers:,}",
        "ops": f"{sums.ops:,}",
    }
    return Row([cells.get(name, "") for name in names], "bold")
