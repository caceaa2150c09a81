"""PyTorch: one self-contained file that reads as a person would write it.

A class for each block definition with its parameters as constructor arguments, ``nn.Sequential`` for chains, loops for repeats, and the
network on top. ``state_dict`` keys are the spec's own paths.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cnnc.backends.torch.file import GENERATED_MARK, File
from cnnc.backends.torch.network import stripped_nodes, write_file
from cnnc.backends.torch.values import Inexpressible, Mismatch, Unsupported, plain
from cnnc.check import Checked
from cnnc.diagnostics.model import CnncError, Diagnostic, Label
from cnnc.graph import Graph
from cnnc.source import Span


def emit_torch(checked: Checked, probe: bool = False) -> str:
    """The PyTorch file of a network.

    With ``probe`` the text is the same, but every layer's value in a ``forward`` passes through ``_probe(module, name, value)``.
    Raises CnncError where the network has errors or PyTorch cannot express it.
    """
    if checked.errors:
        raise CnncError(checked.errors)
    graph = checked.graph
    varied: list[Graph] = []
    open_names: list[str] = []
    try:
        for name, value in graph.parameters.items():
            for other in _other_values(value):
                varied_graph = _vary(graph, name, other)
                if varied_graph is not None and _is_open(checked, name, varied_graph):
                    varied.append(varied_graph)
                    open_names.append(name)
                    break
        try:
            return _write(checked, [graph, *varied], frozenset(open_names), probe)
        except Inexpressible:
            return _write(checked, [graph], frozenset(), probe)
    except Mismatch as problem:  # of the network's own class: there is no second one to write
        raise CnncError((_inexpressible(str(problem), graph.definition.name_span),)) from None
    except Unsupported as problem:
        place = problem.scope.span
        raise CnncError((_inexpressible(problem.message, place),)) from None


def _inexpressible(words: str, place: Span) -> Diagnostic:
    return Diagnostic("E702", f"PyTorch code cannot be written: {words}", Label(place), help="name the part at the top level")


def _other_values(value: Any) -> Iterator[Any]:
    """Other values of a parameter, to see whether the emitted class can leave it open."""
    if isinstance(value, bool) or not plain(value):
        return
    if isinstance(value, int):
        yield from (v for v in (value + 1, value * 2, value * 3) if v != value)
    elif isinstance(value, float):
        yield from (value / 2 + 0.125, value * 2)


def _vary(graph: Graph, name: str, value: Any) -> Graph | None:
    return graph.vary({name: value}) if graph.vary is not None else None


def _is_open(checked: Checked, name: str, varied: Graph) -> bool:
    """Whether one class gives both networks, by its argument alone."""
    try:
        text = _write(checked, [checked.graph, varied], frozenset([name]), False)
    except (Mismatch, Unsupported):
        return False
    return bool(text)


def _write(checked: Checked, graphs: list[Graph], open_names: frozenset[str], probe: bool) -> str:
    file = File(checked, graphs, open_names, stripped=stripped_nodes(graphs[0]))
    return write_file(file, probe)


__all__ = ["GENERATED_MARK", "emit_torch"]
