"""Does the emitted module do what was predicted? Each layer's shape, parameters, buffers and MACs, by running it.

A second text is emitted in which every layer's expression in ``forward`` is wrapped in ``_probe(self, "path", …)``; layers inside an
``nn.Sequential`` are watched by hooks. That the probes change nothing is proved on the syntax trees.
"""

from __future__ import annotations

import ast
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cnnc.backends.torch.names import key_path
from cnnc.check import Checked
from cnnc.compiler import emit
from cnnc.graph import Node
from cnnc.runtime.module import construct, forget

Device = Literal["meta", "cpu"]

#: Inputs at once: two, since batch normalisation of a single 1x1 map has nothing to normalise.
BATCH = 2

_PROBE = "_probe"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A figure that came out differently; ``layer`` is empty for the network as a whole."""

    layer: str
    what: str
    predicted: str
    executed: str


@dataclass(frozen=True, slots=True)
class Report:
    """What came of running a network."""

    network: str
    file: str
    device: Device
    layers: int
    params: int
    macs: int
    seconds: float
    mismatches: tuple[Mismatch, ...]


def verify(checked: Checked, device: Device = "meta") -> Report:
    """Run the emitted module of a network without errors and compare it with the predictions, layer by layer.

    On ``meta`` no number is computed. On ``cpu`` the network also runs backward in training mode: every parameter must get a finite
    gradient, every output be finite. Raises CnncError when the network cannot be emitted.
    """
    from cnnc.backends.torch import emit_torch

    return compare(checked, emit(checked, "torch"), emit_torch(checked, probe=True), device)


def compare(checked: Checked, plain: str, probed: str, device: Device = "meta") -> Report:
    """Compare the predictions for a network with what a text does; ``probed`` is the text with its probes."""
    start = time.perf_counter()
    graph, totals = checked.graph, checked.totals
    with torch.random.fork_rng(devices=[]):
        found = list(_run(checked, plain, probed, device))
    return Report(
        graph.name,
        graph.definition.span.source.name,
        device,
        len(graph.layers),
        totals.params + totals.aux_params,
        totals.macs,
        time.perf_counter() - start,
        tuple(found),
    )


def _run(checked: Checked, plain: str, probed: str, device: Device) -> Iterator[Mismatch]:
    if not same_without_probes(plain, probed):
        yield Mismatch("", "text", "the emitted text", "another text under the probes")
        return
    watch = _Watch()
    module: nn.Module | None = None
    try:
        torch.manual_seed(0)
        with torch.device(device):
            module = construct(probed, {_PROBE: watch.probe})
            shapes = [n.shapes[0] for n in checked.graph.inputs if n.shapes is not None]
            inputs = [torch.rand(BATCH, *shape) for shape in shapes]
        watch.attach(module)
        yield from _weights(checked, module)
        yield from _pass(checked, module, inputs, watch, training=False, real=device == "cpu")
        yield from _pass(checked, module, inputs, watch, training=True, real=device == "cpu")
    except Exception as error:  # whatever the emitted module raises is a finding, not a fault of ours
        last = watch.events[-1].path if watch.events else ""
        yield Mismatch(last, "after it", "no exception", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    finally:
        if module is not None:
            forget(module)


# --------------------------------------------------------------------------------------------------------------------- the texts


class _WithoutProbes(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == _PROBE and len(node.args) == 3 and not node.keywords:
            return node.args[2]
        return node


def same_without_probes(plain: str, probed: str) -> bool:
    """Whether two texts are the same program once each ``_probe(self, path, X)`` is its X."""
    return ast.dump(_WithoutProbes().visit(ast.parse(probed))) == ast.dump(ast.parse(plain))


# --------------------------------------------------------------------------------------------------------------------- observing


@dataclass(frozen=True, slots=True)
class _Event:
    """A layer that ran: its name among the modules, the shapes that came out, and the MACs since the layer before."""

    path: str
    shapes: tuple[tuple[int, ...], ...]
    macs: int


@dataclass(eq=False)
class _Watch:
    """Notes each layer as it runs."""

    events: list[_Event] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    flops: Callable[[], int] = lambda: 0
    seen: int = 0

    def attach(self, module: nn.Module) -> None:
        """Watch a constructed network: know the modules' names, and hook those that an ``nn.Sequential`` calls."""
        modules = dict(module.named_modules())
        self.names = {id(m): name for name, m in modules.items()}
        for name, inner in modules.items():
            parent = modules.get(name.rpartition(".")[0])
            if name and isinstance(parent, nn.Sequential) and not any(True for _ in inner.children()):
                inner.register_forward_hook(self._hook(name))

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, value: Any) -> None:
            self._note(name, value)

        return hook

    def probe(self, owner: nn.Module, path: str, value: Any) -> Any:
        """What the probed text calls around each layer."""
        prefix = self.names.get(id(owner), "")
        name = key_path(path)
        self._note(f"{prefix}.{name}" if prefix else name, value)
        return value

    def _note(self, path: str, value: Any) -> None:
        total = self.flops()
        shapes = tuple(tuple(t.shape[1:]) for t in _tensors(value))
        self.events.append(_Event(path, shapes, (total - self.seen) // 2 // BATCH))
        self.seen = total


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors of whatever a module returns, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            yield from _tensors(inner)


# --------------------------------------------------------------------------------------------------------------------- comparing


def _pass(checked: Checked, module: nn.Module, inputs: list[Tensor], watch: _Watch, *, training: bool, real: bool) -> Iterator[Mismatch]:
    """One forward pass; with real numbers and in training mode also a backward pass."""
    module.train(training)
    watch.events.clear()
    watch.seen = 0
    learn = training and real
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(learn):
        watch.flops = counter.get_total_flops
        returned = list(_tensors(module(*inputs)))
        flops = counter.get_total_flops()
    facts = checked.facts
    nodes = [n for n in checked.graph.layers if training or not facts[n.id].aux]
    yield from _layers(checked, nodes, watch.events, "in training" if training else "in evaluation")
    macs = sum(facts[n.id].macs for n in nodes)
    if flops // 2 // BATCH != macs:
        yield Mismatch("", "MACs in training" if training else "MACs", f"{macs:,}", f"{flops // 2 // BATCH:,}")
    if not training:
        predicted = [tuple(checked.graph.shape(o.ref) or ()) for o in checked.graph.outputs]
        executed = [tuple(t.shape[1:]) for t in returned]
        if predicted != executed:
            yield Mismatch("", "outputs", _shown(predicted), _shown(executed))
    if real:
        yield from _numbers(module, returned, learn)


def _layers(checked: Checked, nodes: list[Node], events: list[_Event], when: str) -> Iterator[Mismatch]:
    """Each layer's shape and MACs; several uses of one module in the order in which they ran."""
    ran: dict[str, list[_Event]] = defaultdict(list)
    for event in events:
        ran[event.path].append(event)
    unread = {n.id for n in checked.graph.unread()}
    wanted: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        wanted[key_path(node.path)].append(node)
    for path, uses in wanted.items():
        found = ran.get(path, [])
        if not found and all(n.op == "identity" or n.id in unread for n in uses):
            continue  # what computes nothing, or nothing that anyone reads, need not run
        if len(found) != len(uses):
            times = "not at all" if not found else f"{len(found)} times"
            yield Mismatch(uses[0].path, f"runs {when}", f"{len(uses)} time{'s' if len(uses) != 1 else ''}", times)
            continue
        for node, event in zip(uses, found, strict=True):
            shapes = [tuple(s) for s in node.shapes or ()]
            if shapes != list(event.shapes):
                yield Mismatch(node.path, f"shape {when}", _shown(shapes), _shown(event.shapes))
            macs = checked.facts[node.id].macs
            if macs != event.macs:
                yield Mismatch(node.path, f"MACs {when}", f"{macs:,}", f"{event.macs:,}")


def _weights(checked: Checked, module: nn.Module) -> Iterator[Mismatch]:
    """Each layer's parameters and buffers, found by their keys in the state dict."""
    owners = {key_path(n.path): n for n in checked.graph.layers if n.shares is None}
    keys = module.state_dict(keep_vars=True)
    kept = {name: b for name, b in module.named_buffers() if name.rpartition(".")[2] != "num_batches_tracked"}
    counted: dict[str, tuple[int, int]] = dict.fromkeys(owners, (0, 0))
    for name, tensor in [*module.named_parameters(), *kept.items()]:
        owner = _owner(name, owners)
        learnt = name not in kept
        if owner is None or (learnt and name not in keys):
            yield Mismatch("", "state_dict", "keys that are layers' paths", f"{name} ({tensor.numel():,} numbers)")
            continue
        params, buffers = counted[owner]
        counted[owner] = (params + tensor.numel(), buffers) if learnt else (params, buffers + tensor.numel())
    for path, node in owners.items():
        facts = checked.facts[node.id]
        params, buffers = counted[path]
        if params != facts.params:
            yield Mismatch(node.path, "parameters", f"{facts.params:,}", f"{params:,}")
        if buffers != facts.buffers:
            yield Mismatch(node.path, "buffers", f"{facts.buffers:,}", f"{buffers:,}")
    total = sum(p.numel() for p in module.parameters())
    predicted = checked.totals.params + checked.totals.aux_params
    if total != predicted:
        yield Mismatch("", "parameters", f"{predicted:,}", f"{total:,}")


def _owner(name: str, owners: Mapping[str, Node]) -> str | None:
    """The layer to which a parameter belongs: the longest path that its key starts with."""
    while "." in name:
        name = name.rpartition(".")[0]
        if name in owners:
            return name
    return None


def _numbers(module: nn.Module, returned: list[Tensor], learn: bool) -> Iterator[Mismatch]:
    """Finite outputs; after a backward pass a finite gradient for every parameter."""
    for k, tensor in enumerate(returned):
        if not bool(torch.isfinite(tensor).all()):
            yield Mismatch("", f"output {k}", "finite numbers", "others")
    if not learn:
        return
    sum((t * torch.rand_like(t)).mean() for t in returned).backward()  # type: ignore[union-attr]
    for name, parameter in module.named_parameters():
        if parameter.grad is None or not bool(torch.isfinite(parameter.grad).all()):
            yield Mismatch("", "gradient", f"finite numbers for {name}", "none" if parameter.grad is None else "others")


def _shown(shapes: Sequence[Sequence[int]]) -> str:
    return ", ".join("x".join(map(str, s)) or "a scalar" for s in shapes) or "nothing"
