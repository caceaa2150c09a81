"""The Python interface: the same pipeline as the command line, with exceptions for errors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnc.check import Checked
from cnnc.compiler import Options, analyse, emit
from cnnc.diagnostics.model import CnncError, Diagnostic
from cnnc.graph import Node
from cnnc.reading import find_spec, read_import
from cnnc.shapes import Shape
from cnnc.source import Source

if TYPE_CHECKING:
    import networkx
    from torch import nn


class Layer:
    """One layer of a network: where it is, what it is, and what it costs for one image."""

    __slots__ = ("_checked", "_node")

    def __init__(self, checked: Checked, node: Node) -> None:
        self._checked = checked
        self._node = node

    @property
    def path(self) -> str:
        """The full name: ``stage[2].bottleneck3.conv2``."""
        return self._node.path

    @property
    def op(self) -> str:
        """The op in the language: ``conv``."""
        return self._node.op

    @property
    def shape(self) -> tuple[int, ...]:
        """The output shape, channels first, without the batch (the first output of an op with several)."""
        assert self._node.shapes is not None
        return tuple(self._node.shapes[0])

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """All output shapes."""
        assert self._node.shapes is not None
        return tuple(map(tuple, self._node.shapes))

    @property
    def params(self) -> int:
        """Numbers that an optimiser updates."""
        return self._checked.facts[self._node.id].params

    @property
    def buffers(self) -> int:
        """Numbers that are kept but not trained."""
        return self._checked.facts[self._node.id].buffers

    @property
    def macs(self) -> int:
        """Multiply-accumulates, if a convolution or a dense layer."""
        return self._checked.facts[self._node.id].macs

    @property
    def aux(self) -> bool:
        """Whether the layer is part of an auxiliary head, which exists only while training."""
        return self._checked.facts[self._node.id].aux

    @property
    def attributes(self) -> dict[str, Any]:
        """The op's attributes with their values."""
        return {name: getattr(self._node.layer, name) for name in type(self._node.layer).model_fields}

    def __repr__(self) -> str:
        return f"<{self.path}: {self.op} -> {'x'.join(map(str, self.shape))}>"


class Network:
    """A checked network without errors."""

    def __init__(self, checked: Checked) -> None:
        if checked.errors:
            raise CnncError(checked.errors)
        self.checked = checked

    @property
    def name(self) -> str:
        """The network's name in its file."""
        return self.checked.graph.name

    @property
    def params(self) -> int:
        """Parameters, auxiliary heads left out."""
        return self.checked.totals.params

    @property
    def aux_params(self) -> int:
        """Parameters of the auxiliary heads."""
        return self.checked.totals.aux_params

    @property
    def buffers(self) -> int:
        """Numbers that are kept but not trained."""
        return self.checked.totals.buffers

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and dense layers for one image, bias not counted, auxiliary heads left out."""
        return self.checked.totals.macs

    @property
    def aux_macs(self) -> int:
        """Multiply-accumulates of the auxiliary heads."""
        return self.checked.totals.aux_macs

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """What the checker warns of."""
        return self.checked.problems

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in execution order, auxiliary heads included."""
        return tuple(Layer(self.checked, n) for n in self.checked.graph.layers)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Output shapes by layer path, inputs included; and by the names that the spec gives to values, such as an instance's result."""
        graph = self.checked.graph
        found = {n.path: tuple(n.shapes[0]) for n in graph.nodes if n.shapes is not None}
        for name, ref in graph.names.items():
            found[name] = tuple(graph.shape(ref) or ())
        return found

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Input name -> shape."""
        return {n.name or n.path: tuple(n.shapes[0]) for n in self.checked.graph.inputs if n.shapes is not None}

    @property
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Output name (the layer's path, if it has none) -> shape."""
        graph = self.checked.graph
        return {o.name or graph.nodes[o.ref.node].path: tuple(graph.shape(o.ref) or ()) for o in graph.outputs}

    @cached_property
    def nx(self) -> networkx.MultiDiGraph[str]:
        """The graph as a ``networkx.MultiDiGraph``: nodes are layer paths with ``op``, ``shape``, ``params``, ``macs``, … as attributes."""
        rows = [
            {
                "path": n.path,
                "shape": None if n.shapes is None else tuple(n.shapes[0]),
                "params": f.params,
                "buffers": f.buffers,
                "macs": f.macs,
                "ops": f.ops,
                "aux": f.aux,
                "line": n.span.line,
            }
            for n, f in zip(self.checked.graph.nodes, self.checked.facts, strict=True)
        ]
        return self.checked.graph.to_networkx(rows)

    def code(self, target: str = "torch") -> str:
        """The text of a target; raises CnncError where the target cannot express the network."""
        return emit(self.checked, target)

    def to_torch(self, weights: str | Path | None = None) -> nn.Module:
        """The emitted module, constructed: an ``nn.Module`` with fresh weights, or with those of a file. Needs torch.

        ``weights`` is a safetensors file, or one of ``torch.save`` with tensors only. Its keys and shapes must be the module's own, or
        it raises ``cnnc.runtime.weights.WeightsError``; ``cnnc weights adapt`` makes such a file from another implementation's.
        """
        from cnnc.runtime.module import build_module

        module = build_module(self.checked)
        if weights is not None:
            from cnnc.runtime.weights import load as load_weights

            load_weights(module, Path(weights))
        return module

    def __repr__(self) -> str:
        return f"<network {self.name}: {self.params:,} parameters, {self.macs:,} MACs>"


def _options(
    network: str | None, parameters: Mapping[str, Any], input: str | tuple[int, ...] | Mapping[str, tuple[int, ...]] | None
) -> Options:
    shapes: dict[str | None, Shape] = {}
    if isinstance(input, Mapping):
        shapes.update({k: Shape(v) for k, v in input.items()})
    elif isinstance(input, str):
        shapes[None] = Shape(int(n) for n in input.split("x"))
    elif input is not None:
        shapes[None] = Shape(input)
    return Options(network, parameters, shapes)


def _finish(source: Source, options: Options) -> Network:
    found = analyse(source, options, read_import)
    if not isinstance(found, Checked):
        raise CnncError(found)
    return Network(found)


def load(
    path: str | Path,
    network: str | None = None,
    *,
    input: str | tuple[int, ...] | Mapping[str, tuple[int, ...]] | None = None,
    **parameters: Any,
) -> Network:
    """The network of a file, or of a bundled spec such as ``"alexnet"``.

    ``network`` chooses one of several, ``parameters`` set the network's own, ``input`` the shape of its input. Raises CnncError with
    every diagnostic when the spec has errors.
    """
    source = find_spec(str(path))
    if isinstance(source, Diagnostic):
        raise CnncError((source,))
    return _finish(source, _options(network, parameters, input))


def parse(
    text: str,
    network: str | None = None,
    *,
    input: str | tuple[int, ...] | Mapping[str, tuple[int, ...]] | None = None,
    **parameters: Any,
) -> Network:
    """The network of a text; see :func:`load`."""
    return _finish(Source("<text>", text), _options(network, parameters, input))
