"""Layers that move, cut, add or repeat numbers without weighing them (and ``scale``, which weighs each channel)."""

import math
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from cnnc.layers.base import EVERYTHING, Count, Flag, Int, Layer, Map, Pad, Reach, Real, Size, Split, describe, needs_map
from cnnc.layers.conv import check_groups
from cnnc.layers.form import IN_CHANNELS, Arg, Form, Helper, Raw, call, template
from cnnc.layers.pool import adaptive_reach
from cnnc.layers.steps import CHANNEL_AFFINE, cropped, number, plain, torch_order, tuple_text
from cnnc.shapes import Shape, ShapeError, padding_per_axis, per_axis

# ------------------------------------------------------------------------------------------------------------- order and number


def _dims(value: Any) -> Any:
    whole = [v for v in value if not isinstance(v, bool) and isinstance(v, int)] if isinstance(value, list | tuple) else []
    if isinstance(value, int) and not isinstance(value, bool):
        value, whole = (value,), [value]
    if not whole or len(whole) != len(value):
        raise ValueError(f"a shape such as 256x6x6, or a list such as [256, -1], is needed, not {describe(value)}")
    if any(v < 1 and v != -1 for v in whole):
        raise ValueError(f"every size must be at least 1 (or, once, -1: the rest), not {describe(value)}")
    if whole.count(-1) > 1:
        raise ValueError(f"only one size may be -1, but {describe(value)} has {whole.count(-1)}")
    return tuple(whole)


def _order(value: Any) -> Any:
    if not isinstance(value, list | tuple) or any(isinstance(v, bool) or not isinstance(v, int) for v in value):
        raise ValueError(f"a list of axes is needed, such as [0, 2, 1], not {describe(value)}")
    if sorted(value) != list(range(len(value))):
        shown = ", ".join(map(str, range(len(value))))
        raise ValueError(f"each of the axes {shown} must stand there once (0 is the channels), not {describe(value)}")
    return tuple(value)


class Flatten(Map, keyword="flatten", role="shape", view=True, channels_from=None):
    """All numbers of a map in a row: ``C x H x W`` becomes a vector of ``C * H * W``, channel after channel, row after row.

    No parameters. Source: PyTorch's ``flatten(x, 1)``.
    """

    def shape(self, x: Shape) -> Shape:
        return Shape((x.numel,))

    def reach(self, x: Shape) -> tuple[Reach, ...] | Literal["everything"]:
        return EVERYTHING

    def torch(self, x: Shape) -> Form:
        return Form(module=call("nn.Flatten"), call=call("torch.flatten", 1))


class Reshape(Map, keyword="reshape", role="shape", view=True, channels_from=None):
    """The same numbers in the same order, cut into another shape (without the batch); one size may be -1: what is left.

    No parameters. Source: PyTorch's ``Tensor.reshape``.
    """

    shape_: Annotated[tuple[int, ...], BeforeValidator(_dims), Field(alias="shape")]

    def shape(self, x: Shape) -> Shape:
        known = math.prod(d for d in self.shape_ if d != -1)
        written = describe(self.shape_)
        if -1 in self.shape_:
            if x.numel % known:
                raise ShapeError(
                    f"{x.numel} numbers do not divide into {written}: {x.numel} / {known} = {x.numel / known:.3f}",
                    field="shape",
                    code="E308",
                    notes=(f"{x} holds {' * '.join(map(str, x))} = {x.numel} numbers",),
                    help=f"sizes whose product divides {x.numel}",
                )
            return Shape(x.numel // known if d == -1 else d for d in self.shape_)
        if known != x.numel:
            raise ShapeError(
                f"{x} holds {x.numel} numbers, but {written} holds {known}",
                field="shape",
                code="E308",
                notes=(f"{' * '.join(map(str, x))} = {x.numel}", f"{' * '.join(map(str, self.shape_))} = {known}"),
                help="put -1 in the place of one size to let it be worked out",
            )
        return Shape(self.shape_)

    def reach(self, x: Shape) -> tuple[Reach, ...] | Literal["everything"]:
        return super().reach(x) if self.shape(x) == x else EVERYTHING

    def torch(self, x: Shape) -> Form:
        dims = self.shape(x)
        function = template("{0}.reshape(" + ", ".join(map(str, (-1, *dims))) + ")")
        module = call("nn.Unflatten", 1, tuple_text(dims)) if x.rank == 0 and len(dims) > 1 else None
        return Form(module=module, call=function)


class Permute(Map, keyword="permute", role="shape", channels_from=None):
    """The axes in another order. ``order`` counts them without the batch, from 0: 0 is the channels, 1 the height, 2 the width.

    ``permute([0, 2, 1])`` turns ``C x H x W`` into ``C x W x H``. No parameters. Source: PyTorch's ``Tensor.permute``.
    """

    order: Annotated[tuple[int, ...], BeforeValidator(_order)]

    def shape(self, x: Shape) -> Shape:
        if len(self.order) != len(x):
            raise ShapeError(
                f"`order` names {len(self.order)} axes, but {x} has {len(x)}",
                field="order",
                code="E303",
                help=f"name each of {', '.join(map(str, range(len(x))))} once",
            )
        return Shape(x[k] for k in self.order)

    def reach(self, x: Shape) -> tuple[Reach, ...] | Literal["everything"]:
        return super().reach(x) if list(self.order) == sorted(self.order) else EVERYTHING

    def torch(self, x: Shape) -> Form:
        return Form(call=template("{0}.permute(" + ", ".join(map(str, (0, *(k + 1 for k in self.order)))) + ")"))


# --------------------------------------------------------------------------------------------------------------- adding and cutting


def _numeric_pad(value: Any) -> Any:
    if value in ("same", "valid"):
        raise ValueError(f"an amount in cells is needed here, not {value}: there is no window to work it out from")
    return value


def _pair(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2 or any(isinstance(v, bool) or not isinstance(v, int) for v in value):
        raise ValueError(f"a pair of whole numbers (before, after) is needed, such as [8, 8], not {describe(value)}")
    if min(value) < 0:
        raise ValueError("a padding cannot be negative: use `slice` to cut channels")
    return tuple(value)


#: Cells to add or cut: a size, or (before, after) pairs.
Amount = Annotated[Pad, BeforeValidator(_numeric_pad)]

_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}
_PAD_MODULES = {"reflect": "ReflectionPad", "replicate": "ReplicationPad", "circular": "CircularPad"}


class PadMap(Map, keyword="pad", role="shape", channels_from=None):
    """Adds cells around a map: ``value`` (``mode=zeros``), the map mirrored (``reflect``), its edge, or its other side (``circular``).

    ``C x W…`` becomes ``C x before + W + after…``. ``channels=[before, after]`` adds maps that are all ``value``: the shortcut
    "A" of He et al. 2016, section 4.1. No parameters. Source: PyTorch's ``F.pad``.
    """

    amount: Amount = 0
    value: Real = 0.0
    mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros"
    channels: Annotated[tuple[int, int], BeforeValidator(_pair)] = (0, 0)

    def _pads(self, x: Shape) -> tuple[tuple[int, int], ...]:
        if x.rank == 0 and self.amount != 0:
            needs_map(x, self.keyword)
        pads = padding_per_axis(self.amount, x.rank)
        assert pads is not None
        return pads

    def shape(self, x: Shape) -> Shape:
        pads = self._pads(x)
        if self.mode != "zeros":
            needs_map(x, self.keyword)
            for field, given in (("value", self.value != 0), ("channels", any(self.channels))):
                if given:
                    raise ShapeError(
                        f"`{field}` has no meaning with `mode={self.mode}`, which repeats cells of the map",
                        field=field,
                        code="E307",
                        help=f"take out `{field}`, or write `mode=zeros`",
                    )
            limit = {"reflect": -1, "circular": 0, "replicate": None}[self.mode]
            for w, pair in zip(x.spatial, pads, strict=True):
                if limit is not None and max(pair) > w + limit:
                    raise ShapeError(
                        f"`mode={self.mode}` can add at most {w + limit} cells to each side of {w}, not {max(pair)}",
                        field="amount",
                        code="E309",
                        help="`mode=replicate` or `mode=zeros` can add any number",
                    )
        channels = x.channels + sum(self.channels)
        return Shape((channels, *(before + w + after for w, (before, after) in zip(x.spatial, pads, strict=True))))

    def reach(self, x: Shape) -> tuple[Reach, ...]:
        return tuple(Reach(1, -before, -before) for before, _ in self._pads(x))

    def torch(self, x: Shape) -> Form:
        pads = self._pads(x)
        cells = torch_order([self.channels, *pads] if any(self.channels) else pads)
        if self.mode != "zeros":
            function = call("F.pad", tuple_text(cells), mode=_MODES[self.mode])
            return Form(module=call(f"nn.{_PAD_MODULES[self.mode]}{x.rank}d", cells), call=function)
        if not cells:
            return Form(module=call("nn.Identity"), call=template("{0}"))
        value = {} if self.value == 0 else {"value": number(self.value, "value")}
        function = call("F.pad", tuple_text(cells), **value)
        if any(self.channels) or x.rank == 0:
            return Form(call=function)
        if value:
            return Form(module=call(f"nn.ConstantPad{x.rank}d", cells, value["value"]), call=function)
        return Form(module=call(f"nn.ZeroPad{x.rank}d", cells), call=function)


class Crop(Map, keyword="crop", role="shape"):
    """Cuts a map: to ``size``, from its centre (the odd cell goes after), or by ``amount`` cells on each side.

    ``C x W…`` becomes ``C x size…`` or ``C x W - before - after…``. Give one of the two. No parameters.
    Source: Ronneberger, Fischer & Brox 2015, "U-Net", section 2.
    """

    size: Size | None = None
    amount: Amount | None = None

    def _ranges(self, x: Shape) -> list[tuple[int, int]]:
        rank = needs_map(x, self.keyword)
        if (self.size is None) == (self.amount is None):
            given = "both are given" if self.size is not None else "neither is given"
            raise ShapeError(
                f"`crop` needs either `size` (of the result) or `amount` (to cut), but {given}",
                field="amount" if self.size is not None else None,
                code="E307",
                help="write crop(24x24), or crop(amount=2)",
            )
        if self.size is not None:
            return centre(x, per_axis(self.size, rank, "size"), "size")
        assert self.amount is not None
        pads = padding_per_axis(self.amount, rank)
        assert pads is not None
        for w, (before, after) in zip(x.spatial, pads, strict=True):
            if before + after >= w:
                raise ShapeError(
                    f"nothing is left of the map: {w} - {before} - {after} = {w - before - after}",
                    field="amount",
                    code="E309",
                    help=f"cut at most {w - 1} of the {w} cells",
                )
        return [(before, w - after) for w, (before, after) in zip(x.spatial, pads, strict=True)]

    def shape(self, x: Shape) -> Shape:
        return x.with_spatial([stop - start for start, stop in self._ranges(x)])

    def reach(self, x: Shape) -> tuple[Reach, ...]:
        return tuple(Reach(1, start, start) for start, _ in self._ranges(x))

    def torch(self, x: Shape) -> Form:
        return cropped(self._ranges(x))


def centre(x: Shape, size: tuple[int, ...], field: str | None) -> list[tuple[int, int]]:
    """The range of cells along each axis that is the middle of ``x``."""
    for w, wanted in zip(x.spatial, size, strict=True):
        if wanted > w:
            raise ShapeError(
                f"a map of {'x'.join(map(str, x.spatial))} cannot be cut to {'x'.join(map(str, size))}: {wanted} is more than {w}",
                field=field,
                code="E309",
                label=f"{x} arrives",
                help="`pad` or `resize` make a map larger",
            )
    starts = [(w - wanted) // 2 for w, wanted in zip(x.spatial, size, strict=True)]
    return [(start, start + wanted) for start, wanted in zip(starts, size, strict=True)]


class CropLike(Layer, keyword="crop_like", role="shape", references=("like",)):
    """Cuts a map, from its centre (the odd cell goes after), to the height and width of another value, whose name it takes.

    ``C x W…`` becomes ``C x V…`` for a named value of ``D x V…``. No parameters. Source: Ronneberger, Fischer & Brox 2015, section 2.
    """

    def _ranges(self, inputs: tuple[Shape, ...]) -> list[tuple[int, int]]:
        x, like = inputs
        needs_map(x, self.keyword)
        if x.rank != like.rank:
            raise ShapeError(
                f"a map of {x} cannot be cut like {like}: {x.rank} and {like.rank} spatial dimensions", field="like", code="E303"
            )
        return centre(x, like.spatial, "like")

    def infer(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        return (inputs[0].with_spatial([stop - start for start, stop in self._ranges(inputs)]),)

    def reach_into(self, inputs: tuple[Shape, ...]) -> tuple[Reach, ...]:
        return tuple(Reach(1, start, start) for start, _ in self._ranges(inputs))

    def form(self, inputs: tuple[Shape, ...]) -> Form:
        return cropped(self._ranges(inputs))


class Slice(Map, keyword="slice", role="shape", channels_from=None):
    """The channels ``from`` up to ``to``, ``to`` not included; without it, to the last. ``C x W…`` becomes ``to - from x W…``.

    No parameters. Source: PyTorch's ``x[:, from:to]``.
    """

    from_: Annotated[Int, Field(ge=0, alias="from")]
    to: Count | None = None

    def _stop(self, x: Shape) -> int:
        return x.channels if self.to is None else self.to

    def shape(self, x: Shape) -> Shape:
        stop = self._stop(x)
        if stop > x.channels:
            raise ShapeError(
                f"`to={stop}` is past the last of the {x.channels} channels that arrive",
                field="to",
                code="E309",
                help=f"at most {x.channels}, which is also what leaving it out means",
            )
        if self.from_ >= stop:
            raise ShapeError(
                f"no channel is left between {self.from_} and {stop}: `to` itself is not included",
                field="from",
                code="E309",
                help=f"`from` below {stop}",
            )
        return x.with_channels(stop - self.from_)

    def torch(self, x: Shape) -> Form:
        start = Arg(Raw("") if self.from_ == 0 else self.from_, None if self.from_ == 0 else "from")
        stop = Arg(Raw("")) if self.to is None else Arg(self.to, "to")
        if self.from_ == 0 and self.to is None:
            return Form(module=call("nn.Identity"), call=template("{0}"))
        return Form(call=template("{0}[:, {start}:{stop}]", start=start, stop=stop))


def _parts(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | list | tuple):
        raise ValueError(f"a number of equal parts, or a list of channel counts, is needed, not {describe(value)}")
    if isinstance(value, int):
        if value < 1:
            raise ValueError(f"at least 1 part is needed, not {value}")
        if value > 4096:
            raise ValueError(f"at most 4096 parts can be made, not {describe(value)}")
        return value
    if not value or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in value):
        raise ValueError(f"each part needs a whole number of channels, at least 1, not {describe(value)}")
    return tuple(value)


class SplitChannels(Split, keyword="split", role="shape", channels_from=None):
    """Cuts the channels into several values: ``parts`` equal ones, or as many as the list has, each with its own number of channels.

    ``a, b = split([16, 48])`` makes ``16 x W…`` and ``48 x W…`` of ``64 x W…``. No parameters.
    Source: Ma et al. 2018, "ShuffleNet V2", section 3.
    """

    parts: Annotated[int | tuple[int, ...], BeforeValidator(_parts)]

    def shapes(self, x: Shape) -> tuple[Shape, ...]:
        if isinstance(self.parts, int):
            if x.channels % self.parts:
                raise ShapeError(
                    f"{x.channels} channels do not divide into {self.parts} equal parts: {x.channels} / {self.parts} is not whole",
                    field="parts",
                    code="E302",
                    help="list the channels of each part, such as split([16, 48])",
                )
            return (x.with_channels(x.channels // self.parts),) * self.parts
        if sum(self.parts) != x.channels:
            raise ShapeError(
                f"the parts have {' + '.join(map(str, self.parts))} = {sum(self.parts)} channels, but {x.channels} arrive",
                field="parts",
                code="E309",
                help=f"parts that add up to {x.channels}",
            )
        return tuple(x.with_channels(part) for part in self.parts)

    def form(self, inputs: tuple[Shape, ...]) -> Form:
        if isinstance(self.parts, int):
            return Form(call=call("torch.chunk", Arg(self.parts, "parts"), 1))
        return Form(call=call("torch.split", Arg(list(self.parts), "parts"), 1))


# -------------------------------------------------------------------------------------------------------------------- other sizes


def _scale(value: Any) -> Any:
    items = value if isinstance(value, list | tuple) else [value]
    if not items or any(isinstance(v, bool) or not isinstance(v, int | float) for v in items):
        raise ValueError(f"a factor such as 2, or one for each axis, is needed, not {describe(value)}")
    if any(not 1e-6 <= v <= 1_000_000 for v in items):
        raise ValueError(f"a factor must be finite, more than 0 and at most a million, but is {describe(value)}")
    return tuple(value) if isinstance(value, list | tuple) else value


#: The modes of ``resize``: (spatial dimensions that they need, neighbours that they weigh along each axis)
_RESIZE: dict[str, tuple[int | None, int]] = {
    "nearest": (None, 1),
    "area": (None, 1),
    "linear": (1, 2),
    "bilinear": (2, 2),
    "trilinear": (3, 2),
    "bicubic": (2, 4),
}


class Resize(Map, keyword="resize", role="shape"):
    """A map of another size, by the nearest cell, by interpolation between neighbours, or by the mean over an ``area``.

    ``C x W…`` becomes ``C x size…`` or ``C x floor(W * scale)…``; give one of the two. ``linear``, ``bilinear`` and ``trilinear`` are
    for one, two and three dimensions. ``align_corners`` makes the corner cells' centres, not their outer edges, meet.
    No parameters. Source: PyTorch's ``F.interpolate``; Long, Shelhamer & Darrell 2015, section 3.3.
    """

    size: Size | None = None
    scale: Annotated[int | float | tuple[int | float, ...] | None, BeforeValidator(lambda v: None if v is None else _scale(v))] = None
    mode: Literal["nearest", "bilinear", "bicubic", "trilinear", "linear", "area"] = "nearest"
    align_corners: Flag = False

    def _scales(self, rank: int) -> tuple[int | float, ...]:
        assert self.scale is not None
        if isinstance(self.scale, int | float):
            return (self.scale,) * rank
        if len(self.scale) != rank:
            raise ShapeError(
                f"`scale` has {len(self.scale)} factors, but the map has {rank} spatial dimension{'s' if rank != 1 else ''}",
                field="scale",
                code="E303",
                help=f"write one factor for all axes, or {rank}",
            )
        return self.scale

    def shape(self, x: Shape) -> Shape:
        rank = needs_map(x, self.keyword)
        if (self.size is None) == (self.scale is None):
            given = "both are given" if self.size is not None else "neither is given"
            raise ShapeError(
                f"`resize` needs either `size` or `scale`, but {given}",
                field="scale" if self.size is not None else None,
                code="E307",
                help="write resize(56x56), or resize(scale=2)",
            )
        wanted = _RESIZE[self.mode][0]
        if wanted is not None and wanted != rank:
            fitting = {1: "linear", 2: "bilinear", 3: "trilinear"}[rank]
            raise ShapeError(
                f"`mode={self.mode}` is for {wanted} spatial dimension{'s' if wanted != 1 else ''}, but {x} has {rank}",
                field="mode",
                code="E304",
                help=f"`mode={fitting}` is for {rank}",
            )
        if self.align_corners and self.mode in ("nearest", "area"):
            raise ShapeError(
                f"`align_corners` has no meaning with `mode={self.mode}`, which does not interpolate",
                field="align_corners",
                code="E307",
                help="take it out, or choose an interpolating mode",
            )
        if self.size is not None:
            return x.with_spatial(per_axis(self.size, rank, "size"))
        out = [math.floor(float(w) * s) for w, s in zip(x.spatial, self._scales(rank), strict=True)]
        for w, s, o in zip(x.spatial, self._scales(rank), out, strict=True):
            if o < 1:
                raise ShapeError(
                    f"nothing is left of the map: floor({w} * {plain(s)}) = {o}", field="scale", code="E309", help=f"at least 1/{w}"
                )
        return x.with_spatial(out)

    def ops(self, x: Shape) -> int:
        if self.mode == "area":
            return x.channels * math.prod(w + o - math.gcd(w, o) for w, o in zip(x.spatial, self.shape(x).spatial, strict=True))
        taps = _RESIZE[self.mode][1] ** x.rank
        return self.shape(x).numel * (2 * taps - 1 if taps > 1 else 0)

    def reach(self, x: Shape) -> tuple[Reach, ...]:
        out = self.shape(x).spatial
        if self.mode == "area":
            return tuple(adaptive_reach(w, o) for w, o in zip(x.spatial, out, strict=True))
        if self.align_corners:
            steps = [Fraction(w - 1, o - 1) if o > 1 else Fraction(0) for w, o in zip(x.spatial, out, strict=True)]
        elif self.size is not None:
            steps = [Fraction(w, o) for w, o in zip(x.spatial, out, strict=True)]
        else:
            steps = [1 / Fraction(s).limit_denominator(10**6) for s in self._scales(x.rank)]
        return tuple(self._sampled(step) for step in steps)

    def _sampled(self, step: Fraction) -> Reach:
        """Samples are taken ``step`` cells apart; cell ``i`` reads the neighbours of sample ``i`` that have a weight."""
        taps = _RESIZE[self.mode][1]
        if taps == 1:
            return Reach(step, Fraction(1, step.denominator) - 1, 0)
        offset = Fraction(0) if self.align_corners else (step - 1) / 2
        grain = Fraction(1, math.lcm(step.denominator, offset.denominator))
        return Reach(step, offset - taps // 2 + grain, offset + taps // 2 - grain)

    def torch(self, x: Shape) -> Form:
        arguments: dict[str, Arg] = {}
        if self.size is not None:
            arguments["size"] = Arg(self.size if isinstance(self.size, int) else tuple_text(self.size), "size")
        elif isinstance(self.scale, tuple):
            arguments["scale_factor"] = Arg(tuple_text([plain(float(s)) for s in self.scale]))
        else:
            assert self.scale is not None
            arguments["scale_factor"] = number(self.scale, "scale")
        if self.mode != "nearest":
            arguments["mode"] = Arg(self.mode, "mode")
        if self.align_corners:
            arguments["align_corners"] = Arg(True, "align_corners")
        return Form(module=call("nn.Upsample", **arguments), call=call("F.interpolate", **arguments))


_SHUFFLE = Helper(
    "channels_to_space",
    '''\
def channels_to_space(x: Tensor, factor: int) -> Tensor:
    """Spread groups of channels over the cells of a map, as F.pixel_shuffle does in 2-D."""
    space = x.shape[2:]
    rank = len(space)
    blocks = x.reshape(x.shape[0], -1, *(factor for _ in space), *space)
    pairs = [axis for k in range(rank) for axis in (2 + rank + k, 2 + k)]
    mixed = blocks.permute(0, 1, *pairs)
    return mixed.reshape(x.shape[0], -1, *(factor * w for w in space))
''',
)
_UNSHUFFLE = Helper(
    "space_to_channels",
    '''\
def space_to_channels(x: Tensor, factor: int) -> Tensor:
    """Gather the cells of each block into channels, as F.pixel_unshuffle does in 2-D."""
    space = [w // factor for w in x.shape[2:]]
    rank = len(space)
    sizes = [size for w in space for size in (w, factor)]
    blocks = x.reshape(x.shape[0], x.shape[1], *sizes)
    inner = [3 + 2 * k for k in range(rank)]
    outer = [2 + 2 * k for k in range(rank)]
    return blocks.permute(0, 1, *inner, *outer).reshape(x.shape[0], -1, *space)
''',
)


class PixelShuffle(Map, keyword="pixel_shuffle", role="shape", channels_from=None):
    """Channels become cells: ``C * r**n x W…`` becomes ``C x r * W…``, ``n`` being the number of spatial dimensions.

    No parameters. Source: Shi et al. 2016, "Real-time single image and video super-resolution", equation 4.
    """

    factor: Count

    def shape(self, x: Shape) -> Shape:
        rank = needs_map(x, self.keyword)
        cells = self.factor**rank
        if x.channels % cells:
            raise ShapeError(
                f"{x.channels} channels do not divide by {self.factor}**{rank} = {cells}",
                field="factor",
                code="E302",
                notes=(f"{x.channels} = {x.channels // cells} * {cells} + {x.channels % cells}",),
                help=f"{cells * max(1, round(x.channels / cells))} channels",
            )
        return Shape((x.channels // cells, *(w * self.factor for w in x.spatial)))

    def reach(self, x: Shape) -> tuple[Reach, ...]:
        return (Reach(Fraction(1, self.factor), Fraction(1, self.factor) - 1, 0),) * x.rank

    def torch(self, x: Shape) -> Form:
        factor = Arg(self.factor, "factor")
        if x.rank == 2:
            return Form(module=call("nn.PixelShuffle", factor), call=call("F.pixel_shuffle", factor))
        return Form(call=call("channels_to_space", factor), helpers=(_SHUFFLE,))


class PixelUnshuffle(Map, keyword="pixel_unshuffle", role="shape", channels_from=None):
    """Cells become channels: ``C x r * W…`` becomes ``C * r**n x W…``, ``n`` being the number of spatial dimensions.

    No parameters. Source: the inverse of Shi et al. 2016, equation 4; "focus" in YOLOv5.
    """

    factor: Count

    def shape(self, x: Shape) -> Shape:
        rank = needs_map(x, self.keyword)
        for w in x.spatial:
            if w % self.factor:
                raise ShapeError(
                    f"{w} cells do not divide into blocks of {self.factor}: {w} = {w // self.factor} * {self.factor} + {w % self.factor}",
                    field="factor",
                    code="E302",
                    label=f"{x} arrives",
                    help=f"`pad` or `crop` the map to a multiple of {self.factor}",
                )
        return Shape((x.channels * self.factor**rank, *(w // self.factor for w in x.spatial)))

    def reach(self, x: Shape) -> tuple[Reach, ...]:
        return (Reach(self.factor, 0, self.factor - 1),) * x.rank

    def torch(self, x: Shape) -> Form:
        factor = Arg(self.factor, "factor")
        if x.rank == 2:
            return Form(module=call("nn.PixelUnshuffle", factor), call=call("F.pixel_unshuffle", factor))
        return Form(call=call("space_to_channels", factor), helpers=(_UNSHUFFLE,))


class ChannelShuffle(Map, keyword="channel_shuffle", role="shape"):
    """The channels of ``groups`` groups, taken in turns: the first of each group, then the second of each, and so on.

    The shape stays; no parameters. Source: Zhang et al. 2018, "ShuffleNet", section 3.1.
    """

    groups: Count

    def shape(self, x: Shape) -> Shape:
        needs_map(x, self.keyword)
        check_groups(self.groups, x.channels)
        return x

    def torch(self, x: Shape) -> Form:
        groups = Arg(self.groups, "groups")
        return Form(module=call("nn.ChannelShuffle", groups), call=call("F.channel_shuffle", groups))


class Identity(Map, keyword="identity", role="shape", view=True):
    """The input itself: the shortcut of a residual unit. No parameters. Source: He et al. 2016, equation 1."""

    def torch(self, x: Shape) -> Form:
        return Form(module=call("nn.Identity"), call=template("{0}"))


class Scale(Map, keyword="scale", role="shape"):
    """Multiplies each channel by a trained number that starts at ``init``. The shape stays. Parameters: ``C``.

    Source: Touvron et al. 2021, "Going deeper with image transformers", section 2 (LayerScale).
    """

    init: Real = 1.0

    def params(self, x: Shape) -> int:
        return x.channels

    def ops(self, x: Shape) -> int:
        return x.numel

    def torch(self, x: Shape) -> Form:
        start = () if self.init == 1 else (number(self.init, "init"),)
        module = call("ChannelAffine", Arg(x.channels, IN_CHANNELS), *start, bias=False)
        return Form(module=module, helpers=(CHANNEL_AFFINE,))
