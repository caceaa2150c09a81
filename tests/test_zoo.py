"""Every bundled network that others have counted has their totals, and their layers one by one.

`figures.json` holds what was published or counted by other programs. A layer is written `op shape parameters`; only layers with
weights and poolings are listed. Parameters are what an optimiser updates, MACs those of convolutions and dense layers.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import cnnc
from cnnc.resources import specs_dir

FIGURES: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "figures.json").read_text(encoding="utf-8"))

#: An op, a shape without the ones of a 1x1 map, and a number of parameters.
Row = tuple[str, tuple[int, ...], int]

POOLINGS = {"maxpool", "avgpool"}
#: One name for what differs only in how it is said.
SAME = {"depthwise": "conv", "global_avgpool": "avgpool", "adaptive_avgpool": "avgpool"}


def row(op: str, shape: tuple[int, ...], params: int) -> Row:
    """A layer as the comparison sees it: on a 1x1 map, a 1x1 convolution is a dense layer."""
    op = SAME.get(op, op)
    if all(n == 1 for n in shape[1:]):
        shape = shape[:1]
        op = "linear" if op == "conv" else op
    return op, shape, params


@cache
def network(name: str) -> cnnc.api.Network:
    """A network of the zoo, loaded once."""
    figures = FIGURES[name]
    spec = specs_dir() / figures["spec"]
    if not spec.exists():
        pytest.xfail(f"{figures['spec']} is not written yet")
    return cnnc.load(spec, network=name)


def published(name: str) -> list[Row]:
    """The layers as they were published, but adaptive poolings that leave their map as it is: they do something for other inputs."""
    found: list[Row] = []
    for text in FIGURES[name]["layers"]:
        op, shape, params = text.split()
        made = row(op, tuple(map(int, shape.split("x"))), int(params))
        if op == "adaptive_avgpool" and found and found[-1][1] == made[1]:
            continue
        found.append(made)
    return found


def ours(name: str) -> list[Row]:
    """The layers of the spec that a list of figures would hold."""
    heads = FIGURES[name].get("heads") == "counted"
    kept = []
    for layer in network(name).layers:
        if layer.aux and not heads:
            continue
        made = row(layer.op, layer.shape, layer.params)
        if layer.params or made[0] in POOLINGS or layer.op == "rbf":
            kept.append(made)
    return kept


@pytest.mark.parametrize("name", FIGURES)
def test_totals(name: str) -> None:
    figures, net = FIGURES[name], network(name)
    heads = figures.get("heads") == "counted"
    assert [*net.inputs.values()] == [tuple(map(int, figures["input"].split("x")))]
    assert net.params + (net.aux_params if heads else 0) == figures["params"]
    if "macs" in figures:
        assert net.macs + (net.aux_macs if heads else 0) == figures["macs"]
    if "aux_params" in figures:
        assert net.aux_params == figures["aux_params"]


@pytest.mark.parametrize("name", [n for n in FIGURES if "layers" in FIGURES[n]])
def test_layers(name: str) -> None:
    expected, found = published(name), ours(name)
    # Caffe's models keep the scale of a batch norm in a layer that was not listed.
    if not any(op == "batchnorm" for op, _, _ in expected):
        found = [r for r in found if r[0] != "batchnorm"]
    # A program that walks PyTorch's modules sees no pooling that is a function call.
    if "torchvision" in FIGURES[name]["source"]:
        found = without_unlisted_poolings(found, expected)
    assert found == expected


def without_unlisted_poolings(found: list[Row], expected: list[Row]) -> list[Row]:
    """``found`` without those poolings that stand where ``expected`` goes on with another layer."""
    kept: list[Row] = []
    for r in found:
        at = len(kept)
        listed = at < len(expected) and expected[at] == r
        if listed or r[0] not in POOLINGS:
            kept.append(r)
    return kept


def test_a_wrong_figure_is_noticed() -> None:
    right = published("ResNet18")
    assert ours("ResNet18")[:5] == right[:5]
    assert without_unlisted_poolings(right[:-1], right) != right
    assert without_unlisted_poolings([*right[:3], *right[4:]], right) != right
    changed = [(op, shape, params + 1) for op, shape, params in right]
    assert without_unlisted_poolings(right, changed) != changed
