"""Random programs of the whole language: the emitted module does what the checker predicts and what the graph says.

CNNC_SEEDS=N looks at N programs instead of the default number; CNNC_FIRST_SEED=K starts at another one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cnnc.backends.torch import emit_torch
from cnnc.backends.torch.names import key_path
from cnnc.compiler import Checked
from cnnc.runtime.module import execute
from cnnc.runtime.verify import same_without_probes
from generate import program
from interpreter import Interpreter, aux, is_random, randomise
from oracle import buffers, parameters

FIRST = int(os.environ.get("CNNC_FIRST_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("CNNC_SEEDS", "100")))
BATCH = 2


@cache
def drawn(seed: int) -> tuple[Checked, str]:
    """A random network and its PyTorch file."""
    checked = program(seed)[1]
    return checked, emit_torch(checked)


def construct(code: str) -> nn.Module:
    names = execute(code)
    module = names[names["__all__"][0]]()
    assert isinstance(module, nn.Module)
    return module


def run(module: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    made: Any = module(*inputs)
    return list(made) if isinstance(made, tuple) else [made]


def assert_same(made: list[Tensor], wanted: list[Tensor]) -> None:
    assert len(made) == len(wanted)
    for a, b in zip(made, wanted, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_module_computes_the_graph(seed):
    checked, code = drawn(seed)
    graph, totals = checked.graph, checked.totals
    module = construct(code).to(torch.float64)
    randomise(module, seed)
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(BATCH, *n.shapes[0], generator=generator, dtype=torch.float64) for n in graph.inputs]

    assert parameters(module) == totals.params + totals.aux_params
    assert buffers(module) == totals.buffers + totals.aux_buffers
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        made = run(module.eval(), inputs)
    # A layer that nothing reads is left out, unless another instance of its class needs it.
    unread = sum(checked.facts[n.id].macs for n in graph.unread() if not aux(n))
    assert totals.macs - unread <= counter.get_total_flops() / 2 / BATCH <= totals.macs
    assert [tuple(t.shape[1:]) for t in made] == [tuple(graph.shape(o.ref)) for o in graph.outputs]

    reference = Interpreter(checked, module)
    with torch.no_grad():
        assert_same(made, reference.run(inputs, training=False)[0])
        trained = run(module.train(), inputs)
        assert len(trained) == len(graph.outputs) + len(graph.heads)
        if not is_random(checked):
            outputs, heads = reference.run(inputs, training=True)
            assert_same(trained, [*outputs, *heads])


@pytest.mark.parametrize("seed", SEEDS)
def test_each_layer_owns_the_keys_of_its_path(seed):
    checked, code = drawn(seed)
    module = construct(code)
    names = [name for name, _ in module.named_parameters()]
    for node in checked.graph.layers:
        if node.shares is not None or not checked.facts[node.id].params:
            continue
        own = [p for name, p in module.named_parameters() if name.startswith(key_path(node.path) + ".")]
        assert sum(p.numel() for p in own) == checked.facts[node.id].params, node.path
    ordered = [n for n in checked.graph.layers if n.shares is None and checked.facts[n.id].params]
    plain = [n for n in ordered if "." not in n.path and "[" not in n.path and not n.shared]
    firsts = [next(i for i, name in enumerate(names) if name.startswith(key_path(n.path) + ".")) for n in plain]
    assert firsts == sorted(firsts), "parameters are not in execution order"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_text_is_deterministic_and_the_same_under_probes(seed):
    checked, code = drawn(seed)
    assert emit_torch(checked) == code
    assert same_without_probes(code, emit_torch(checked, probe=True))


def test_the_text_does_not_depend_on_the_hash_seed():
    script = (
        "import hashlib, sys; from generate import program; from cnnc.backends.torch import emit_torch\n"
        "print(hashlib.sha256(''.join(emit_torch(program(s)[1]) for s in range(12)).encode()).hexdigest())"
    )
    here = hashlib.sha256("".join(drawn(s)[1] for s in range(12)).encode()).hexdigest()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        found = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
        assert found.stdout.strip() == here


def written(folder: Path, seeds: range) -> None:
    for seed in seeds:
        (folder / f"seed{seed}.py").write_text(drawn(seed)[1], encoding="utf-8")


def needs(tool: str) -> None:
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed")


def tool(*command: str, folder: Path) -> str:
    found = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False)
    return "" if found.returncode == 0 else found.stdout + found.stderr


def test_ruff_has_nothing_to_say(tmp_path):
    needs("ruff")
    written(tmp_path, SEEDS)
    assert not tool("ruff", "format", "--isolated", "--check", "--diff", ".", folder=tmp_path)
    assert not tool("ruff", "check", "--isolated", ".", folder=tmp_path)


def test_mypy_has_nothing_to_say(tmp_path):
    needs("mypy")
    written(tmp_path, SEEDS[:40])
    assert not tool("mypy", "--strict", "--config-file", os.devnull, ".", folder=tmp_path)
