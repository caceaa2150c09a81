"""Every layer kind against PyTorch: what the rules predict is what running the layer gives."""

from __future__ import annotations

import itertools
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from cnnc.layers import KINDS, Layer
from cnnc.layers.base import EVERYTHING
from cnnc.layers.form import Arg, Form, write
from cnnc.layers.init import Init
from cnnc.layers.manual import manual
from cnnc.shapes import Shape, ShapeError
from oracle import HEADER, Built, buffers, convolve, helpers_of, macs, parameters, patches, positions, results, tensorflow_same

FULL = os.environ.get("CNNC_TEST_PROFILE") == "full"
checked = settings(
    max_examples=300 if FULL else 25,
    deadline=None,
    derandomize=not FULL,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)

Draw = Callable[[st.SearchStrategy[Any]], Any]
Case = tuple[dict[str, Any], tuple[Shape, ...]]


# ------------------------------------------------------------------------------------------------------------- random arguments


def ints(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


def draw_map(draw: Draw, *, rank: int | None = None, least: int = 1, most: int = 9) -> Shape:
    """A small map of one, two or three dimensions."""
    rank = draw(ints(1, 3)) if rank is None else rank
    width = ints(least, {1: 2 * most, 2: most, 3: max(least, most // 2 + 1)}[max(rank, 1)])
    return Shape((draw(ints(1, 6)), *(draw(width) for _ in range(rank))))


def draw_any(draw: Draw) -> Shape:
    """A vector or a map."""
    return draw_map(draw, rank=draw(ints(0, 3)))


def draw_size(draw: Draw, rank: int, low: int, high: int) -> Any:
    """One number for all axes, or one for each."""
    return draw(ints(low, high)) if rank == 1 or draw(st.booleans()) else tuple(draw(ints(low, high)) for _ in range(rank))


def draw_pad(draw: Draw, rank: int, high: int) -> Any:
    kind = draw(st.sampled_from(["number", "number", "same", "valid", "pairs"]))
    if kind == "number":
        return draw_size(draw, rank, 0, high)
    if kind == "pairs":
        return [(draw(ints(0, high)), draw(ints(0, high))) for _ in range(rank)]
    return kind


def draw_window(draw: Draw, x: Shape, *, pad: int = 3) -> dict[str, Any]:
    found = {
        "size": draw_size(draw, x.rank, 1, 4),
        "stride": draw_size(draw, x.rank, 1, 4),
        "pad": draw_pad(draw, x.rank, pad),
        "dilation": draw(ints(1, 3)) if draw(st.booleans()) else draw_size(draw, x.rank, 1, 3),
        "round": draw(st.sampled_from([None, "floor", "ceil", "exact"])),
    }
    return {k: v for k, v in found.items() if k == "size" or draw(ints(0, 3))}


def divisor(draw: Draw, number: int) -> int:
    return int(draw(st.sampled_from([d for d in range(1, number + 1) if number % d == 0])))


WEIGHT_INITS = [None, None, 0.5, Init("normal", (("std", 0.5),)), "he_normal", "glorot_uniform", "orthogonal", "zeros"]


def conv(draw: Draw) -> Case:
    x = draw_map(draw)
    args = draw_window(draw, x)
    if draw(ints(0, 3)) == 0:
        maps = ints(0, x.channels - 1)
        args["connections"] = draw(st.lists(st.lists(maps, min_size=1, unique=True), min_size=1, max_size=4))
        args["out"] = len(args["connections"])
    else:
        args["groups"] = divisor(draw, x.channels)
        args["out"] = args["groups"] * draw(ints(1, 3))
    args["bias"] = draw(st.booleans())
    args["init"] = draw(st.sampled_from(WEIGHT_INITS))
    args["bias_init"] = draw(st.sampled_from([None, 0.0, 1.0])) if args["bias"] else None
    return args, (x,)


def depthwise(draw: Draw) -> Case:
    x = draw_map(draw)
    return {**draw_window(draw, x), "multiplier": draw(ints(1, 3)), "bias": draw(st.booleans())}, (x,)


def conv_transpose(draw: Draw) -> Case:
    x = draw_map(draw, most=5)
    args = draw_window(draw, x)
    args.pop("round", None)
    groups = divisor(draw, x.channels)
    args |= {"groups": groups, "out": groups * draw(ints(1, 3)), "bias": draw(st.booleans())}
    if args.get("pad") != "same":
        high = [max(s, d) for s, d in zip(*(per(args.get(k, 1), x.rank) for k in ("stride", "dilation")), strict=True)]
        args["output_pad"] = tuple(draw(ints(0, h - 1)) for h in high)
        if len(set(args["output_pad"])) == 1:
            args["output_pad"] = args["output_pad"][0]
    return args, (x,)


def pool(draw: Draw) -> Case:
    x = draw_map(draw)
    return draw_window(draw, x), (x,)


def avgpool(draw: Draw) -> Case:
    args, xs = pool(draw)
    return {**args, "count_pad": draw(st.sampled_from([None, True, False]))}, xs


def lppool(draw: Draw) -> Case:
    args, xs = pool(draw)
    return {**args, "p": draw(st.sampled_from([1, 2, 2.5, 3, 4]))}, xs


def adaptive(draw: Draw) -> Case:
    x = draw_map(draw)
    return {"size": draw_size(draw, x.rank, 1, 7)}, (x,)


def nothing(draw: Draw) -> Case:
    return {}, (draw_any(draw),)


def map_only(draw: Draw) -> Case:
    return {}, (draw_map(draw),)


def with_options(of: Callable[[Draw], Shape], **options: list[Any]) -> Callable[[Draw], Case]:
    """A kind whose arguments are each left out or one of a few."""

    def made(draw: Draw) -> Case:
        picked = {k: draw(st.sampled_from(v)) for k, v in options.items() if draw(st.booleans())}
        return picked, (of(draw),)

    return made


def groupnorm(draw: Draw) -> Case:
    x = draw_any(draw)
    return {"groups": divisor(draw, x.channels), "eps": draw(st.sampled_from([1e-5, 1e-3])), "affine": draw(st.booleans())}, (x,)


def lrn(draw: Draw) -> Case:
    _, xs = map_only(draw)
    numbers = st.sampled_from([0.1, 0.5, 1.0, 2.0])
    return {
        "size": draw(ints(1, 7)),
        "alpha": draw(st.sampled_from([1e-4, 5e-5, 0.3])),
        "beta": draw(numbers),
        "k": draw(numbers),
        "mean": draw(st.booleans()),
    }, xs


def linear(draw: Draw) -> Case:
    return {"out": draw(ints(1, 8)), "bias": draw(st.booleans()), "init": draw(st.sampled_from(WEIGHT_INITS))}, (draw_map(draw, rank=0),)


def rbf(draw: Draw) -> Case:
    return {"out": draw(ints(1, 8)), "trainable": draw(st.booleans())}, (draw_map(draw, rank=0),)


def reshape(draw: Draw) -> Case:
    x = draw_any(draw)
    rest, dims = x.numel, []
    for _ in range(draw(ints(0, 3))):
        dims.append(divisor(draw, rest))
        rest //= dims[-1]
    dims.append(rest)
    shape: list[int] = list(draw(st.permutations(dims)))
    if draw(st.booleans()):
        shape[draw(ints(0, len(shape) - 1))] = -1
    return {"shape": shape}, (x,)


def permute(draw: Draw) -> Case:
    x = draw_any(draw)
    return {"order": draw(st.permutations(range(len(x))))}, (x,)


def pad(draw: Draw) -> Case:
    x = draw_map(draw, rank=draw(ints(0, 3)))
    mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"])) if x.rank else "zeros"
    limit = {"reflect": -1, "circular": 0}.get(mode, 3)
    args: dict[str, Any] = {"mode": mode}
    if x.rank and draw(st.booleans()):
        high = max(0, min(3, *(w + (limit if limit < 1 else 0) for w in x.spatial)))
        args["amount"] = draw_size(draw, x.rank, 0, high)
    elif x.rank:
        high = [max(0, min(3, w + (limit if limit < 1 else 0))) for w in x.spatial]
        args["amount"] = [(draw(ints(0, h)), draw(ints(0, h))) for h in high]
    if mode == "zeros":
        args |= {"channels": (draw(ints(0, 2)), draw(ints(0, 2))), "value": draw(st.sampled_from([0, 0.5, -1]))}
    return args, (x,)


def crop(draw: Draw) -> Case:
    x = draw_map(draw)
    if draw(st.booleans()):
        return {"size": tuple(draw(ints(1, w)) for w in x.spatial)}, (x,)
    pairs = []
    for w in x.spatial:
        before = draw(ints(0, w - 1))
        pairs.append((before, draw(ints(0, w - 1 - before))))
    return {"amount": pairs}, (x,)


def crop_like(draw: Draw) -> Case:
    x = draw_map(draw)
    return {}, (x, Shape((draw(ints(1, 6)), *(draw(ints(1, w)) for w in x.spatial))))


def slice_(draw: Draw) -> Case:
    x = draw_any(draw)
    start = draw(ints(0, x.channels - 1))
    return {"from": start, "to": draw(st.one_of(st.none(), ints(start + 1, x.channels)))}, (x,)


def split(draw: Draw) -> Case:
    x = draw_any(draw)
    if draw(st.booleans()):
        return {"parts": divisor(draw, x.channels)}, (x,)
    parts = []
    while sum(parts) < x.channels:
        parts.append(draw(ints(1, x.channels - sum(parts))))
    return {"parts": parts}, (x,)


def resize(draw: Draw) -> Case:
    x = draw_map(draw)
    smooth = {1: ["linear"], 2: ["bilinear", "bicubic"], 3: ["trilinear"]}[x.rank]
    mode = draw(st.sampled_from(["nearest", "area", *smooth]))
    args: dict[str, Any] = {"mode": mode, "align_corners": mode in smooth and draw(st.booleans())}
    if draw(st.booleans()):
        return {**args, "size": draw_size(draw, x.rank, 1, 12)}, (x,)
    factors = st.sampled_from([1, 2, 3, 1.5, 2.7])
    return {**args, "scale": draw(factors) if draw(st.booleans()) else [draw(factors) for _ in x.spatial]}, (x,)


def pixel_shuffle(draw: Draw) -> Case:
    x = draw_map(draw, most=4)
    factor = draw(ints(1, 3))
    return {"factor": factor}, (x.with_channels(draw(ints(1, 2)) * factor**x.rank),)


def pixel_unshuffle(draw: Draw) -> Case:
    x = draw_map(draw, most=4)
    factor = draw(ints(1, 3))
    return {"factor": factor}, (x.with_spatial([w * factor for w in x.spatial]),)


def channel_shuffle(draw: Draw) -> Case:
    x = draw_map(draw)
    return {"groups": divisor(draw, x.channels)}, (x,)


def concat(draw: Draw) -> Case:
    x = draw_any(draw)
    return {}, tuple(x.with_channels(draw(ints(1, 5))) for _ in range(draw(ints(1, 4))))


def arithmetic(draw: Draw) -> Case:
    x = draw_any(draw)
    point = x.with_spatial([1] * x.rank)
    return {}, tuple(draw(st.sampled_from([x, x, point])) for _ in range(draw(ints(1, 4))))


P = [0, 0.1, 0.5, 0.9]
PLAIN = ["relu", "relu6", "selu", "silu", "mish", "sigmoid", "hardsigmoid", "hardswish", "tanh", "softmax", "log_softmax"]
CASES: dict[str, Callable[[Draw], Case]] = {
    "conv": conv,
    "depthwise": depthwise,
    "conv_transpose": conv_transpose,
    "linear": linear,
    "rbf": rbf,
    "maxpool": pool,
    "avgpool": avgpool,
    "lppool": lppool,
    "subsample": pool,
    "global_avgpool": map_only,
    "global_maxpool": map_only,
    "adaptive_avgpool": adaptive,
    "adaptive_maxpool": adaptive,
    "batchnorm": with_options(draw_any, eps=[1e-5, 1e-3], momentum=[0.1, 0.01, 0], affine=[True, False]),
    "layernorm": with_options(draw_any, eps=[1e-5, 1e-6], affine=[True, False], over=["channels", "all"]),
    "groupnorm": groupnorm,
    "instancenorm": with_options(draw_map, eps=[1e-5, 1e-3], affine=[True, False]),
    "lrn": lrn,
    "l2norm": with_options(draw_any, scale=[None, 1, 20]),
    "leaky_relu": with_options(draw_any, slope=[0.01, 0.1, 0.2]),
    "prelu": with_options(draw_any, per_channel=[True, False], init=[0.25, 0]),
    "elu": with_options(draw_any, alpha=[1, 0.5]),
    "gelu": with_options(draw_any, approximate=[True, False]),
    "softplus": with_options(draw_any, beta=[1, 2]),
    "scaled_tanh": with_options(draw_any, amplitude=[1.7159, 1], slope=[2 / 3, 1]),
    **dict.fromkeys(PLAIN, nothing),
    "dropout": with_options(draw_any, p=P),
    "dropout_maps": with_options(draw_map, p=P),
    "drop_path": with_options(draw_any, p=P),
    "flatten": nothing,
    "reshape": reshape,
    "permute": permute,
    "pad": pad,
    "crop": crop,
    "crop_like": crop_like,
    "slice": slice_,
    "split": split,
    "resize": resize,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "channel_shuffle": channel_shuffle,
    "identity": nothing,
    "scale": with_options(draw_any, init=[1, 1e-6, 0.5]),
    "concat": concat,
    "add": arithmetic,
    "mul": arithmetic,
}

# A kind that needs no arguments is tried as it stands, on any input; a line above says how to vary it.
CASES |= {k: nothing for k, kind in KINDS.items() if k not in CASES and not any(f.is_required() for f in kind.model_fields.values())}


def layer(keyword: str, **args: Any) -> Layer:
    return KINDS[keyword](**args)


def random_inputs(inputs: tuple[Shape, ...], batch: int = 2, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(sum(x.numel for x in inputs))
    return tuple(torch.randn(batch, *x, generator=generator, dtype=dtype) for x in inputs)


def legal(keyword: str, data: st.DataObject) -> tuple[Layer, tuple[Shape, ...], tuple[Shape, ...]]:
    """A random layer with inputs that it takes, and the shapes that it promises."""
    args, inputs = CASES[keyword](data.draw)
    made = layer(keyword, **args)
    try:
        return made, inputs, made.infer(inputs)
    except ShapeError:
        assume(False)
        raise


# ------------------------------------------------------------------------------------------------------------- against PyTorch


def per(value: Any, rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else tuple(value)


def test_every_kind_has_cases() -> None:
    assert set(CASES) | {"input"} == set(KINDS)


@pytest.mark.parametrize("keyword", CASES)
@checked
@given(data=st.data())
def test_prediction_is_what_happens(keyword: str, data: st.DataObject) -> None:
    made, inputs, shapes = legal(keyword, data)
    form = made.form(inputs)
    values = random_inputs(inputs)
    outputs = []
    for style in ("call", "module"):
        model = Built(form, style).eval()
        got = results(model, values)
        assert tuple(tuple(y.shape[1:]) for y in got) == shapes
        assert all(len(y) == len(values[0]) for y in got)
        assert parameters(model) == made.count_params(inputs)
        assert buffers(model) == made.count_buffers(inputs)
        assert macs(model, values) == made.count_macs(inputs)
        assert made.count_ops(inputs) >= 0
        outputs.append(got)
    if made.count_params(inputs) == 0:
        for a, b in zip(*outputs, strict=True):
            torch.testing.assert_close(a, b, equal_nan=True)
    if made.count_params(inputs) or made.count_buffers(inputs):
        assert type(made).has_params() or keyword == "rbf"
        assert form.module is not None


@pytest.mark.parametrize("keyword", CASES)
@settings(checked, max_examples=60 if FULL else 4)
@given(data=st.data())
def test_it_trains(keyword: str, data: st.DataObject) -> None:
    made, inputs, _ = legal(keyword, data)
    for style in ("call", "module"):
        model = Built(made.form(inputs), style).train()
        values = tuple(x.requires_grad_() for x in random_inputs(inputs, batch=3))
        total = sum(y.square().sum() for y in results(model, values))
        total.backward()
        for tensor in (*model.parameters(), *(values if keyword != "crop_like" else values[:1])):
            assert tensor.grad is not None


#: kinds whose outputs read every cell that their reach names (a maximum or a rectifier may not)
EXACT = {"conv", "depthwise", "avgpool", "subsample", "adaptive_avgpool", "pad", "crop", "crop_like", "identity", "resize"}
EXACT |= {"pixel_shuffle", "pixel_unshuffle", "scale", "batchnorm", "sigmoid"}


@pytest.mark.parametrize("keyword", [k for k in CASES if k not in ("concat", "add", "mul")])
@settings(checked, max_examples=100 if FULL else 8)
@given(data=st.data())
def test_reach_is_where_gradients_go(keyword: str, data: st.DataObject) -> None:
    made, inputs, shapes = legal(keyword, data)
    reach = made.reach_into(inputs)
    if reach == EVERYTHING or inputs[0].rank == 0 or getattr(made, "mode", "zeros") in ("reflect", "replicate", "circular"):
        return
    axes = made.axes_of(inputs)
    model = Built(made.form(inputs), "module").double().eval()
    for p in model.parameters():
        nn.init.uniform_(p, 0.5, 1.5)
    values = tuple(x.abs().add(0.1).requires_grad_() for x in random_inputs(inputs, dtype=torch.float64))
    out = results(model, values)[0]
    at = tuple(data.draw(ints(0, w - 1)) for w in shapes[0].spatial)
    weights = torch.rand(out.shape[:2], dtype=torch.float64) + 0.5
    (out[(slice(None), slice(None), *at)] * weights).sum().backward()
    touched = values[0].grad
    assert touched is not None
    bounds = [
        (max(0, math.ceil(i * one.step + one.first)), min(width - 1, math.floor(i * one.step + one.last)))
        for i, one, width in zip(at, reach, inputs[0].spatial, strict=True)
    ]
    # the holes of a dilated window at the border may be all that is left of it inside the map
    starts = [i * a.stride - a.before for i, a in zip(at, axes, strict=False)]
    solid = all(a.dilation == 1 or 0 <= start <= a.width - a.extent for start, a in zip(starts, axes, strict=False))
    outside = any(low > high for low, high in bounds)
    for axis, (low, high) in enumerate(bounds):
        others = [d for d in range(touched.dim()) if d != axis + 2]
        cells = touched.abs().amax(others).nonzero().flatten().tolist()
        if outside:
            assert not cells
        elif keyword in EXACT and solid and getattr(made, "mode", "") != "bicubic":
            assert (low, high) == (min(cells), max(cells))
        elif cells:
            assert low <= min(cells) and max(cells) <= high


# --------------------------------------------------------------------------------------------------- against definitions


def cells_of(x: Shape, args: dict[str, Any]) -> list[list[list[int]]]:
    """What each window reads, worked out without the code under test."""
    rank = x.rank
    size, dilation = per(args["size"], rank), per(args.get("dilation", 1), rank)
    stride = per(args["stride"], rank)
    return [positions(*numbers, args.get("round")) for numbers in zip(x.spatial, size, stride, pads_of(x, args), dilation, strict=True)]


def pads_of(x: Shape, args: dict[str, Any]) -> list[tuple[int, int]]:
    pad = args.get("pad", 0)
    rank = x.rank
    if pad == "same":
        size, stride, dilation = (per(args.get(k, 1), rank) for k in ("size", "stride", "dilation"))
        return [tensorflow_same(*numbers) for numbers in zip(x.spatial, size, stride, dilation, strict=True)]
    if pad == "valid":
        return [(0, 0)] * rank
    if isinstance(pad, int):
        return [(pad, pad)] * rank
    return [(p, p) if isinstance(p, int) else tuple(p) for p in pad]


@pytest.mark.parametrize("keyword", ["conv", "depthwise"])
@checked
@given(data=st.data())
def test_convolution_is_its_definition(keyword: str, data: st.DataObject) -> None:
    args, (x,) = CASES[keyword](data.draw)
    args.setdefault("stride", 1)
    made = layer(keyword, **args)
    try:
        made.infer((x,))
    except ShapeError as error:
        cells = cells_of(x, args)
        assert error.code == "E301"
        assert any(not c for c in cells) or args.get("round") == "exact"
        return
    model = Built(made.form((x,)), "module").double()
    (value,) = random_inputs((x,), dtype=torch.float64)
    conv = model.inner
    assert conv is not None
    if args.get("connections"):
        weight = torch.zeros(args["out"], x.channels, *per(args["size"], x.rank), dtype=torch.float64)
        for k, maps in enumerate(args["connections"]):
            weight[k, maps] = conv.weights[k][0]
        groups = 1
    else:
        weight = conv.weight
        groups = x.channels if keyword == "depthwise" else args["groups"]
    expected = convolve(value, weight, cells_of(x, args), groups)
    if conv.bias is not None:
        expected = expected + conv.bias.view(-1, *[1] * x.rank)
    torch.testing.assert_close(model(value), expected)


@settings(checked, max_examples=300 if FULL else 60)
@given(data=st.data())
def test_transposed_convolution_is_the_gradient_of_a_convolution(data: st.DataObject) -> None:
    args, (x,) = conv_transpose(data.draw)
    check_transposed(args, x)


@pytest.mark.parametrize("pad", [[(0, 1)], [(0, 2)], [(1, 0)], [(2, 0)], 1, "same"])
@pytest.mark.parametrize("output_pad", [0, 1])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_transposed_convolution_with_uneven_padding(pad: Any, output_pad: int, size: int) -> None:
    args = {"out": 2, "size": size, "stride": 2, "pad": pad, "output_pad": 0 if pad == "same" else output_pad, "groups": 1, "bias": True}
    check_transposed(args, Shape((3, 4)))


def check_transposed(args: dict[str, Any], x: Shape) -> None:
    made = layer("conv_transpose", **args)
    try:
        (shape,) = made.infer((x,))
    except ShapeError as error:
        assert error.code == "E301" and "nothing is left" in error.message
        return
    args.setdefault("stride", 1)
    if args.get("pad") == "same":
        assert shape.spatial == tuple(w * s for w, s in zip(x.spatial, per(args["stride"], x.rank), strict=True))
    model = Built(made.form((x,)), "module").double()
    (value,) = random_inputs((x,), dtype=torch.float64)
    large = torch.zeros(2, *shape, dtype=torch.float64, requires_grad=True)
    there = convolve(large, model.inner.weight, cells_of(shape, args), args["groups"])
    back = F.pad(value, [n for w, v in zip(there.shape[:1:-1], value.shape[:1:-1], strict=True) for n in (0, w - v)])
    (expected,) = torch.autograd.grad(there, large, back)
    if args["bias"]:
        expected = expected + model.inner.bias.view(-1, *[1] * x.rank)
    torch.testing.assert_close(model(value), expected)


def pooled(keyword: str, value: Tensor, x: Shape, args: dict[str, Any]) -> Tensor:
    """A pool from its definition."""
    cells = cells_of(x, args)
    inner = list(range(2 + x.rank, 2 + 2 * x.rank))
    if keyword == "maxpool":
        return patches(value, cells, -math.inf).amax(inner)
    if keyword == "lppool":
        return patches(value.abs() ** args["p"], cells).sum(inner) ** (1 / args["p"])
    total = patches(value, cells).sum(inner)
    if keyword == "subsample":
        return total
    counted = args.get("count_pad")
    if counted is None:
        counted = args.get("pad") != "same"
    pads = pads_of(x, args) if counted else [(0, 0)] * x.rank
    inside = F.pad(torch.ones_like(value), [n for pair in reversed(pads) for n in pair], value=1)
    shifted = [[[c + p[0] for c in window] for window in axis] for axis, p in zip(cells, pads, strict=True)]
    return total / patches(inside, shifted).sum(inner)


@pytest.mark.parametrize("keyword", ["maxpool", "avgpool", "lppool", "subsample"])
@settings(checked, max_examples=600 if FULL else 100)
@given(data=st.data())
def test_pool_is_its_definition(keyword: str, data: st.DataObject) -> None:
    args, (x,) = CASES[keyword](data.draw)
    check_pool(keyword, args, x)


@pytest.mark.parametrize("keyword", ["maxpool", "avgpool", "lppool", "subsample"])
@pytest.mark.parametrize("width", [5, 6, 7, 8])
@pytest.mark.parametrize("pad", [0, 1, 2, [(0, 1)], [(1, 0)], [(1, 2)], "same"])
@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_pool_rounds_and_pads_as_stated(keyword: str, width: int, pad: Any, rounding: str) -> None:
    for stride, dilation in itertools.product((1, 2, 3), (1, 2)):
        args = {"size": 3, "stride": stride, "pad": pad, "dilation": dilation, "round": rounding}
        check_pool(keyword, args | ({"p": 2} if keyword == "lppool" else {}), Shape((2, width)))


def check_pool(keyword: str, args: dict[str, Any], x: Shape) -> None:
    made = layer(keyword, **args)
    args.setdefault("stride", args["size"])
    (value,) = random_inputs((x,), dtype=torch.float64)
    cells = cells_of(x, args)
    empty = any(not c for c in cells)
    try:
        made.infer((x,))
    except ShapeError as error:
        if error.code == "E306":
            assert not pooled(keyword, value, x, args).isfinite().all()
        else:
            assert error.code == "E301" and (empty or args.get("round") == "exact")
        return
    expected = pooled(keyword, value, x, args)
    assert expected.isfinite().all()
    for style in ("call", "module"):
        model = Built(made.form((x,)), style).double()
        got = model(value)
        if keyword == "subsample":
            expected_now = expected / math.prod(per(args["size"], x.rank))
            torch.testing.assert_close(got, expected_now)
            with torch.no_grad():
                model.inner.weight.copy_(torch.arange(1, x.channels + 1))
                model.inner.bias.fill_(-2)
            weight = torch.arange(1, x.channels + 1, dtype=torch.float64).view(-1, *[1] * x.rank)
            torch.testing.assert_close(model(value), expected * weight - 2)
        else:
            torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("keyword", ["conv", "maxpool", "avgpool"])
@checked
@given(data=st.data())
def test_what_is_refused_pytorch_refuses_too(keyword: str, data: st.DataObject) -> None:
    x = draw_map(data.draw, most=4)
    names = ("size", "stride", "pad", "dilation") if keyword != "avgpool" else ("size", "stride", "pad")
    args = {k: data.draw(ints(1 if k != "pad" else 0, 4)) for k in names}
    if keyword == "conv":
        args |= {"out": data.draw(ints(1, 4)), "groups": data.draw(ints(1, 4))}
    made = layer(keyword, **args)
    try:
        made.infer((x,))
    except ShapeError as error:
        if error.code == "E306":
            return
        renamed = {"size": "kernel_size", "pad": "padding", "out": "out_channels"}
        given = {renamed.get(k, k): v for k, v in args.items()}
        kind = {"conv": "Conv", "maxpool": "MaxPool", "avgpool": "AvgPool"}[keyword]
        with pytest.raises((RuntimeError, ValueError)):
            if keyword == "conv":
                given["in_channels"] = x.channels
            getattr(nn, f"{kind}{x.rank}d")(**given)(torch.zeros(1, *x))


@pytest.mark.parametrize("mean", [False, True])
def test_lrn_is_the_formula(mean: bool) -> None:
    size, alpha, beta, k = 5, 0.3, 0.75, 2.0
    x = torch.randn(2, 7, 3, 4, dtype=torch.float64) * 3
    expected = torch.empty_like(x)
    for c in range(7):
        low, high = max(0, c - size // 2), min(7 - 1, c + size // 2)
        squares = sum(x[:, j] ** 2 for j in range(low, high + 1))
        expected[:, c] = x[:, c] / (k + (alpha / size if mean else alpha) * squares) ** beta
    for style in ("call", "module"):
        model = Built(layer("lrn", size=size, alpha=alpha, beta=beta, k=k, mean=mean).form((Shape((7, 3, 4)),)), style)
        torch.testing.assert_close(model(x), expected)


def test_rbf_is_a_squared_distance_to_fixed_codes() -> None:
    form = layer("rbf", out=10).form((Shape((84,)),))
    model, again = Built(form, "call"), Built(form, "call")
    assert model.inner is not None and again.inner is not None
    codes = model.inner.codes
    assert isinstance(codes, Tensor) and torch.equal(codes, again.inner.codes)
    assert set(codes.flatten().tolist()) == {-1.0, 1.0} and len({tuple(row) for row in codes.tolist()}) == 10
    x = torch.randn(3, 84)
    expected = torch.stack([((x - code) ** 2).sum(1) for code in codes], 1)
    torch.testing.assert_close(model(x), expected)
    torch.testing.assert_close(model(codes).diagonal(), torch.zeros(10))


def test_lenet_c3_reads_what_its_table_lists() -> None:
    table = [[k % 6, (k + 1) % 6, (k + 2) % 6] for k in range(6)]
    table += [[(k + j) % 6 for j in range(4)] for k in range(6)]
    table += [[0, 1, 3, 4], [1, 2, 4, 5], [0, 2, 3, 5], [0, 1, 2, 3, 4, 5]]
    x = (Shape((6, 14, 14)),)
    c3 = layer("conv", out=16, size=5, connections=table)
    assert c3.infer(x) == ((16, 10, 10),)
    assert c3.count_params(x) == 1_516
    assert c3.count_macs(x) == 150_000
    assert [layer("subsample", size=2).count_params((Shape((c, 28, 28)),)) for c in (6, 16)] == [12, 32]


def test_drop_path_keeps_the_mean_and_drops_whole_samples() -> None:
    model = Built(layer("drop_path", p=0.25).form((Shape((2, 3, 3)),)), "call").train()
    torch.manual_seed(0)
    y = model(torch.ones(20_000, 2, 3, 3))
    kept = y.flatten(1)
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert bool((kept == kept[:, :1]).all())
    assert abs(float(y.mean()) - 1) < 0.02
    assert torch.equal(model.eval()(torch.ones(4, 2, 3, 3)), torch.ones(4, 2, 3, 3))


@pytest.mark.parametrize(("keyword", "whole"), [("dropout", False), ("dropout_maps", True)])
@pytest.mark.parametrize("style", ["call", "module"])
def test_dropout_follows_the_mode(keyword: str, whole: bool, style: Any) -> None:
    model = Built(layer(keyword, p=0.5).form((Shape((8, 6, 6)),)), style)
    x = torch.ones(16, 8, 6, 6)
    torch.manual_seed(0)
    y = model.train()(x)
    assert set(y.unique().tolist()) == {0.0, 2.0}
    assert bool((y.amax((2, 3)) == y.amin((2, 3))).all()) is whole
    assert torch.equal(model.eval()(x), x)


def test_crop_like_keeps_the_middle() -> None:
    x = torch.arange(64 * 5.0).reshape(1, 5, 8, 8)
    model = Built(layer("crop_like").form((Shape((5, 8, 8)), Shape((3, 4, 5)))), "call")
    assert torch.equal(model(x, torch.zeros(1, 3, 4, 5)), x[:, :, 2:6, 1:6])


def test_channels_are_padded_with_zeros() -> None:
    x = torch.randn(2, 4, 3, 3)
    model = Built(layer("pad", channels=[1, 3]).form((Shape((4, 3, 3)),)), "call")
    y = model(x)
    assert torch.equal(y[:, 1:5], x) and float(y[:, :1].abs().sum() + y[:, 5:].abs().sum()) == 0


def test_layernorm_over_channels_is_convnexts() -> None:
    x = torch.randn(2, 6, 3, 4) * 3 + 1
    y = Built(layer("layernorm", eps=1e-6).form((Shape((6, 3, 4)),)), "call")(x)
    expected = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pixel_shuffles_undo_each_other(rank: int) -> None:
    x = Shape((2 * 3**rank, *range(2, 2 + rank)))
    large = layer("pixel_shuffle", factor=3)
    (shape,) = large.infer((x,))
    (value,) = random_inputs((x,))
    there = Built(large.form((x,)), "call")(value)
    assert torch.equal(Built(layer("pixel_unshuffle", factor=3).form((shape,)), "call")(there), value)
    if rank == 2:
        assert torch.equal(there, F.pixel_shuffle(value, 3))


@pytest.mark.parametrize("rank", [2])
def test_shuffle_helpers_do_in_two_dimensions_what_pytorch_does(rank: int) -> None:
    namespace: dict[str, Any] = {"torch": torch, "Tensor": Tensor}
    for keyword in ("pixel_shuffle", "pixel_unshuffle"):
        (helper,) = layer(keyword, factor=2).form((Shape((8, 4)),)).helpers
        exec(HEADER + helper.source, namespace)
    x = torch.randn(2, 8, 4, 6)
    assert torch.equal(namespace["channels_to_space"](x, 2), F.pixel_shuffle(x, 2))
    assert torch.equal(namespace["space_to_channels"](x, 2), F.pixel_unshuffle(x, 2))


def test_initialisers_reach_their_parameters() -> None:
    model = Built(layer("conv", out=4, size=3, init=0.25, bias_init=1).form((Shape((2, 5, 5)),)), "call")
    assert {v for p in model.parameters() for v in p.unique().tolist()} == {0.25, 1.0}
    table = layer("conv", out=2, size=3, init=Init("normal", (("std", 0.0),)), bias_init=1, connections=[[0], [0, 1]])
    model = Built(table.form((Shape((2, 5, 5)),)), "call")
    assert {v for p in model.parameters() for v in p.unique().tolist()} == {0.0, 1.0}
    model = Built(layer("batchnorm", init=0).form((Shape((2, 5, 5)),)), "call")
    assert model.inner is not None and not model.inner.weight.detach().any()


# --------------------------------------------------------------------------------------------------------- what people read


def printed(keyword: str, *inputs: str, **args: Any) -> list[str]:
    """The steps of a layer as text, modules first choice where there is no function."""
    form = layer(keyword, **args).form(tuple(Shape(map(int, i.split("x"))) for i in inputs))
    return list(itertools.chain(*(steps(f) for f in (form,))))


def steps(form: Form | None) -> list[str]:
    if form is None:
        return []
    from oracle import show

    used = form.call or form.module
    assert used is not None
    text = write(used, ("x", "y", "z") if form.call and "{1}" in form.call.name else ("x",) if form.call else (), show)
    return [*steps(form.before), text, *steps(form.after)]


@pytest.mark.parametrize(
    ("text", "keyword", "inputs", "args"),
    [
        ("nn.Conv2d(3, 96, 11, stride=4)", "conv", "3x227x227", {"out": 96, "size": 11, "stride": 4}),
        ("nn.Conv2d(96, 256, 5, padding=2)", "conv", "96x27x27", {"out": 256, "size": 5, "pad": 2}),
        ("nn.Conv2d(96, 256, 5, padding=2)", "conv", "96x27x27", {"out": 256, "size": 5, "pad": "same"}),
        ("nn.Conv2d(8, 8, (1, 7), padding=(0, 3), bias=False)", "conv", "8x9x9", {"out": 8, "size": (1, 7), "pad": (0, 3), "bias": False}),
        ("F.pad(x, (0, 1, 0, 1)); nn.Conv2d(3, 8, 3, stride=2)", "conv", "3x8x8", {"out": 8, "size": 3, "stride": 2, "pad": "same"}),
        ("nn.Conv1d(4, 8, 9, groups=2)", "conv", "4x99", {"out": 8, "size": 9, "groups": 2}),
        ("nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False)", "depthwise", "32x9x9", {"size": 3, "pad": 1, "bias": False}),
        ("nn.ConvTranspose2d(8, 4, 2, stride=2)", "conv_transpose", "8x9x9", {"out": 4, "size": 2, "stride": 2, "pad": "same"}),
        (
            "nn.ConvTranspose2d(8, 4, 3, stride=2)x[..., 0:18, 0:18]".replace("x[", "; x["),
            "conv_transpose",
            "8x9x9",
            {"out": 4, "size": 3, "stride": 2, "pad": "same"},
        ),
        ("F.max_pool2d(x, 3, stride=2)", "maxpool", "96x55x55", {"size": 3, "stride": 2}),
        ("F.max_pool2d(x, 2)", "maxpool", "6x28x28", {"size": 2, "stride": (2, 2)}),
        ("F.max_pool2d(x, 3, stride=2, ceil_mode=True)", "maxpool", "64x112x112", {"size": 3, "stride": 2, "round": "ceil"}),
        (
            'F.pad(x, (0, 1, 0, 1), value=float("-inf")); F.max_pool2d(x, 3, stride=2)',
            "maxpool",
            "3x8x8",
            {"size": 3, "stride": 2, "pad": "same"},
        ),
        (
            "F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)",
            "avgpool",
            "3x8x8",
            {"size": 3, "stride": 1, "pad": "same"},
        ),
        ("F.avg_pool2d(x, 2, divisor_override=1); ChannelAffine(6, 1 / 4)", "subsample", "6x28x28", {"size": 2}),
        ("F.local_response_norm(x, 5, alpha=5 * 1e-4, k=2)", "lrn", "96x55x55", {"size": 5, "alpha": 1e-4}),
        ("F.local_response_norm(x, 5, k=2)", "lrn", "96x55x55", {"size": 5, "mean": True}),
        ("nn.Linear(9216, 4096)", "linear", "9216", {"out": 4096}),
        ("nn.BatchNorm2d(64)", "batchnorm", "64x9x9", {}),
        ("nn.LayerNorm((8, 8, 8))", "layernorm", "8x8x8", {"over": "all"}),
        ("ChannelLayerNorm(96, eps=1e-6)", "layernorm", "96x56x56", {"eps": 1e-6}),
        ("F.dropout(x, 0.5, training=self.training)", "dropout", "4096", {}),
        ("torch.flatten(x, 1)", "flatten", "256x6x6", {}),
        ("x.reshape(-1, 256, 6, 6)", "reshape", "9216", {"shape": (256, 6, 6)}),
        ("x.permute(0, 1, 3, 2)", "permute", "3x4x5", {"order": [0, 2, 1]}),
        ("1.7159 * torch.tanh(2 / 3 * x)", "scaled_tanh", "6x2x2", {}),
        ("F.adaptive_avg_pool2d(x, 1)", "global_avgpool", "512x7x7", {}),
        ("F.adaptive_avg_pool2d(x, 6)", "adaptive_avgpool", "256x13x13", {"size": (6, 6)}),
        ("F.interpolate(x, scale_factor=2)", "resize", "8x4x4", {"scale": 2}),
        ('F.interpolate(x, size=(8, 8), mode="bilinear")', "resize", "8x4x4", {"size": (8, 8), "mode": "bilinear"}),
        ("F.pad(x, (0, 0, 0, 0, 8, 8))", "pad", "16x4x4", {"channels": [8, 8]}),
        ("torch.split(x, [16, 48], 1)", "split", "64x4x4", {"parts": [16, 48]}),
        ("torch.chunk(x, 2, 1)", "split", "64x4x4", {"parts": 2}),
        ("x[:, :16]", "slice", "64x4x4", {"from": 0, "to": 16}),
        ("x[:, 16:]", "slice", "64x4x4", {"from": 16}),
        ("F.softmax(x, dim=1)", "softmax", "10", {}),
    ],
)
def test_forms_print_as_people_write(text: str, keyword: str, inputs: str, args: dict[str, Any]) -> None:
    assert "; ".join(printed(keyword, inputs, **args)) == text


def test_merges_print_as_people_write() -> None:
    from oracle import show

    xs = (Shape((4, 2, 2)),) * 3
    texts = [write(layer(k).form(xs).call, ("a", "b", "c"), show) for k in ("concat", "add", "mul")]
    assert texts == ["torch.cat([a, b, c], 1)", "a + b + c", "a * b * c"]


def test_arguments_say_which_field_they_are() -> None:
    form = layer("conv", out=8, size=3, stride=2, pad=1, groups=2).form((Shape((4, 9, 9)),))
    assert form.module is not None
    named = {a.field: a.value for a in (*form.module.args, *(a for _, a in form.module.kwargs))}
    assert named == {"in.channels": 4, "out": 8, "size": 3, "stride": 2, "pad": 1, "groups": 2}
    same = layer("conv", out=8, size=3, pad="same").form((Shape((4, 9, 9)),))
    assert same.module is not None and dict(same.module.kwargs)["padding"] == Arg((1, 1))


# --------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("code", "field", "words", "keyword", "inputs", "args"),
    [
        ("E301", "size", "(3 - 7 + 2*0) / 1 + 1 = -3", "conv", "3x3x3", {"out": 1, "size": 7}),
        ("E301", "round", "54.25", "conv", "3x224x224", {"out": 96, "size": 11, "stride": 4, "round": "exact"}),
        ("E302", "groups", "`groups=3` does not divide the 64 channels", "conv", "64x9x9", {"out": 9, "size": 3, "groups": 3}),
        ("E302", "groups", "`groups=4` does not divide `out=10`", "conv", "64x9x9", {"out": 10, "size": 3, "groups": 4}),
        ("E302", "groups", "`groups=5` does not divide the 64 channels", "groupnorm", "64x9x9", {"groups": 5}),
        ("E302", "groups", "does not divide", "channel_shuffle", "64x9x9", {"groups": 5}),
        ("E302", "factor", "10 channels do not divide by 2**2 = 4", "pixel_shuffle", "10x4x4", {"factor": 2}),
        ("E302", "factor", "5 cells", "pixel_unshuffle", "1x4x5", {"factor": 2}),
        ("E302", "parts", "64 / 3", "split", "64x4x4", {"parts": 3}),
        ("E303", "size", "1x7x7", "conv", "3x9x9", {"out": 1, "size": (1, 7, 7)}),
        ("E303", "order", "2 axes", "permute", "3x4x5", {"order": [1, 0]}),
        ("E304", None, "needs a map", "maxpool", "100", {"size": 2}),
        ("E304", "mode", "for 2 spatial dimensions", "resize", "3x9", {"size": 4, "mode": "bilinear"}),
        ("E304", None, "nothing to normalise", "instancenorm", "3x1x1", {}),
        ("E305", None, "takes a vector", "linear", "256x6x6", {"out": 10}),
        ("E306", "pad", "wholly in the padding", "maxpool", "3x4x4", {"size": 2, "pad": 2}),
        ("E306", "pad", "wholly in the padding", "avgpool", "3x4x4", {"size": 2, "pad": 2, "count_pad": False}),
        ("E307", "output_pad", "at", "conv_transpose", "3x4x4", {"out": 1, "size": 2, "stride": 2, "output_pad": 2}),
        ("E307", "output_pad", "no meaning", "conv_transpose", "3x4x4", {"out": 1, "size": 2, "stride": 2, "output_pad": 1, "pad": "same"}),
        ("E307", "groups", "both say", "conv", "4x4x4", {"out": 1, "size": 2, "groups": 2, "connections": [[0]]}),
        ("E307", "connections", "lists 1 output map,", "conv", "4x4x4", {"out": 2, "size": 2, "connections": [[0]]}),
        ("E307", "bias_init", "bias=false", "conv", "4x4x4", {"out": 2, "size": 2, "bias": False, "bias_init": 1}),
        ("E307", "bias_init", "rows and columns", "linear", "4", {"out": 2, "bias_init": "he_normal"}),
        ("E307", "init", "affine=false", "batchnorm", "4x4x4", {"affine": False, "init": 0}),
        ("E307", "align_corners", "no meaning", "resize", "4x4x4", {"scale": 2, "align_corners": True}),
        ("E307", None, "neither", "resize", "4x4x4", {}),
        ("E307", "scale", "both", "resize", "4x4x4", {"scale": 2, "size": 8}),
        ("E307", None, "neither", "crop", "4x4x4", {}),
        ("E307", "value", "no meaning", "pad", "4x4x4", {"amount": 1, "mode": "reflect", "value": 1}),
        ("E308", "shape", "holds 36 numbers", "reshape", "4x3x3", {"shape": (5, 7)}),
        ("E308", "shape", "36 / 5 = 7.200", "reshape", "4x3x3", {"shape": [5, -1]}),
        ("E309", "connections", "reads input map 4", "conv", "4x4x4", {"out": 1, "size": 2, "connections": [[4]]}),
        ("E309", "size", "5 is more than 4", "crop", "4x4x4", {"size": 5}),
        ("E309", "amount", "4 - 2 - 2 = 0", "crop", "4x4x4", {"amount": 2}),
        ("E309", "amount", "at most 3", "pad", "4x4x4", {"amount": 4, "mode": "reflect"}),
        ("E309", "to", "64 channels", "slice", "64x4x4", {"from": 2, "to": 65}),
        ("E309", "parts", "16 + 16 = 32", "split", "64x4x4", {"parts": [16, 16]}),
        ("E310", None, "branch 2 is 5x4 where branch 1 is 4x4", "concat", "3x4x4 3x5x4", {}),
        ("E310", None, "1 spatial dimension instead of 2", "concat", "3x4x4 3x5", {}),
        ("E311", None, "branch 2 has 4 channels and branch 1 3", "add", "3x4x4 4x4x4", {}),
        ("E311", None, "branch 2 is 1x4 and branch 1 is 4x4", "mul", "3x4x4 3x1x4", {}),
        ("E311", None, "branch 2 is 3 and branch 1 is 3x4x4", "mul", "3x4x4 3", {}),
    ],
)
def test_refusals_name_the_field_and_the_numbers(
    code: str, field: str | None, words: str, keyword: str, inputs: str, args: dict[str, Any]
) -> None:
    made = layer(keyword, **args)
    with pytest.raises(ShapeError) as caught:
        made.infer(tuple(Shape(map(int, i.split("x"))) for i in inputs.split()))
    assert (caught.value.code, caught.value.field) == (code, field)
    assert words in caught.value.message + " " + caught.value.label + " ".join(caught.value.notes)
    assert not caught.value.message.endswith(".")


@pytest.mark.parametrize(
    ("words", "keyword", "args"),
    [
        ("at least 1", "conv", {"out": 3, "size": 0}),
        ("greater than or equal to 1", "conv", {"out": 0, "size": 1}),
        ("a whole number is needed", "conv", {"out": 2.5, "size": 1}),
        ("cannot be negative", "conv", {"out": 2, "size": 1, "pad": -1}),
        ("(before, after) pair", "conv", {"out": 2, "size": 1, "pad": [(1, 2, 3)]}),
        ("lists an input map twice", "conv", {"out": 1, "size": 1, "connections": [[1, 1]]}),
        ("less than 1", "dropout", {"p": 1}),
        ("initialiser", "linear", {"out": 2, "init": "gaussian"}),
        ("only one size may be -1", "reshape", {"shape": [-1, -1]}),
        ("must stand there once", "permute", {"order": [0, 0, 1]}),
        ("there is no window", "pad", {"amount": "same"}),
        ("at least 0", "conv_transpose", {"out": 2, "size": 1, "output_pad": -1}),
        ("at most", "conv", {"out": 2, "size": 10**10}),
        ("at most", "maxpool", {"size": 2, "pad": 10**10}),
        ("less than or equal to", "linear", {"out": 10**12}),
        ("at most", "split", {"parts": 10**9}),
        ("finite", "leaky_relu", {"slope": math.nan}),
        ("finite", "resize", {"scale": math.inf}),
    ],
)
def test_bad_arguments_are_sentences(words: str, keyword: str, args: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        layer(keyword, **args)
    assert any(words in error["msg"] for error in caught.value.errors()), caught.value.errors()


# ------------------------------------------------------------------------------------------------------------------ the rest


def every_helper() -> dict[str, str]:
    shapes = [Shape((4, *[4] * rank)) for rank in (1, 2, 3)]
    found = {}
    for keyword, args in [
        ("conv", {"out": 1, "size": 2, "connections": [[0]]}),
        ("avgpool", {"size": 2, "dilation": 2}),
        ("lppool", {"size": 2, "p": 3}),
        ("subsample", {"size": 2}),
        ("rbf", {"out": 2}),
        ("layernorm", {}),
        ("l2norm", {"scale": 20}),
        ("drop_path", {}),
        ("pixel_shuffle", {"factor": 1}),
        ("pixel_unshuffle", {"factor": 1}),
        ("scale", {}),
    ]:
        for x in [Shape((4,))] if keyword == "rbf" else shapes:
            found.update({h.name: h.source for h in helpers_of(layer(keyword, **args).form((x,)))})
    return found


def test_helpers_are_clean(tmp_path: Path) -> None:
    written = every_helper()
    sources = [*Path(sys.modules["cnnc.layers"].__path__[0]).glob("*.py")]
    assert len(written) == sum(p.read_text().count("Helper(\n") + p.read_text().count("return Helper(") * 3 for p in sources)
    file = tmp_path / "helpers.py"
    file.write_text(HEADER + "\n\n" + "\n\n".join(written.values()))
    tools = [["ruff", "format", "--isolated", "--check"], ["ruff", "check", "--isolated"], ["mypy", "--strict", "--no-incremental"]]
    for tool in tools:
        program = shutil.which(tool[0], path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
        if program is None:
            pytest.skip(f"{tool[0]} is not installed")
        if tool[0] == "mypy" and not FULL:
            continue
        done = subprocess.run([program, *tool[1:], file.name], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_kind_is_documented() -> None:
    for keyword, kind in KINDS.items():
        assert kind.__doc__, keyword
        assert "Source:" in kind.__doc__ or keyword == "input", keyword
        first = kind.__doc__.splitlines()[0]
        assert first.count(".") or first.endswith(","), keyword


def test_manual_is_up_to_date() -> None:
    page = Path(__file__).parents[1] / "docs" / "operators.md"
    assert page.read_text(encoding="utf-8") == manual(), "run `make docs`"


def test_signatures_follow_the_language() -> None:
    def fields(keyword: str) -> str:
        return " ".join(f.alias or name for name, f in KINDS[keyword].model_fields.items())

    assert fields("conv") == "out size stride pad dilation groups bias connections init bias_init round"
    assert fields("depthwise") == "size multiplier stride pad dilation bias init bias_init round"
    assert fields("conv_transpose") == "out size stride pad output_pad dilation groups bias init bias_init"
    assert fields("maxpool") == "size stride pad dilation round"
    assert fields("avgpool") == "size stride pad dilation round count_pad"
    assert fields("lppool") == "size stride pad dilation round p"
    assert fields("lrn") == "size alpha beta k mean"
    assert fields("slice") == "from to"
    assert fields("reshape") == "shape"


def test_importing_the_layers_is_cheap() -> None:
    code = "import sys, cnnc.layers; print([m for m in ('torch', 'networkx', 'lark') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
