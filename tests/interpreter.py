"""A network run node by node, straight from the checked graph: what the emitted module must compute.

Shares nothing with the backend but the names of the layers' keys: each node is what its layer says it is in PyTorch, with the
parameters of the emitted module.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from cnnc.backends.torch.names import key_path
from cnnc.compiler import Checked
from cnnc.graph import Node, Ref, Scope
from oracle import Built


class Interpreter:
    """Runs a checked network with the weights of an emitted module."""

    def __init__(self, checked: Checked, module: nn.Module) -> None:
        self.graph = checked.graph
        state = module.state_dict()
        self.layers: dict[int, Built] = {}
        self.claimed: set[str] = set()
        by_owner: dict[str, dict[str, Tensor]] = defaultdict(dict)
        owners = {key_path(n.path) for n in self.graph.layers}
        for key, value in state.items():
            owner = key
            while owner and owner not in owners:
                owner = owner.rpartition(".")[0]
            assert owner, f"`{key}` belongs to no layer"
            by_owner[owner][key[len(owner) + 1 :]] = value
        for node in self.graph.layers:
            shapes = self.graph.input_shapes(node)
            assert shapes is not None
            if node.shares is not None and self.layers[node.shares].inner is not None:
                self.layers[node.id] = self.layers[node.shares]
                continue
            built = Built(node.layer.form(shapes), "call").to(torch.float64)
            if built.inner is not None:
                given = by_owner.get(key_path(node.path), {})
                built.inner.load_state_dict({k: v.to(torch.float64) if v.is_floating_point() else v for k, v in given.items()})
                self.claimed.add(key_path(node.path))
            self.layers[node.id] = built
        unclaimed = set(by_owner) - self.claimed
        assert not unclaimed, f"weights without a layer: {unclaimed}"

    def run(self, inputs: list[Tensor], training: bool) -> tuple[list[Tensor], list[Tensor]]:
        """The outputs and, in training mode, the values of the heads."""
        values: dict[Ref, Tensor] = {}
        for node, given in zip(self.graph.inputs, inputs, strict=True):
            values[Ref(node.id)] = given
        for node in self.graph.layers:
            if not training and node.scope.head is not None:
                continue
            made = self.layers[node.id].train(training)(*(values[r] for r in node.inputs))
            for port, value in enumerate(made if isinstance(made, tuple | list) else (made,)):
                values[Ref(node.id, port)] = value
        heads = [values[h.result] for h in self.graph.heads if h.result is not None] if training else []
        return [values[o.ref] for o in self.graph.outputs], heads


def is_random(checked: Checked) -> bool:
    """Whether a pass in training mode draws numbers."""
    return any(n.op.startswith("drop") for n in checked.graph.layers)


def randomise(module: nn.Module, seed: int) -> None:
    """Other values in every parameter and buffer, so that no two layers are alike."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            spread = max(parameter[0].numel() if parameter.dim() > 1 else 1, 1) ** -0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * spread)
        for name, buffer in module.named_buffers():
            if buffer.is_floating_point():
                low = 0.5 if name.endswith("var") else -0.5
                buffer.copy_(torch.rand(buffer.shape, generator=generator, dtype=torch.float64) + low)


def aux(node: Node) -> bool:
    """Whether a layer exists only while training."""
    return node.scope.head is not None


__all__ = ["Interpreter", "Scope", "aux", "is_random", "randomise"]
