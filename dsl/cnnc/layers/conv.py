"""Convolutions: plain, grouped, depthwise, by a table of connections, and transposed."""

import math
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator

from cnnc.layers.base import Count, Flag, Map, Pad, Reach, Round, Size, describe, needs_map
from cnnc.layers.form import IN_CHANNELS, Arg, Form, Helper, call
from cnnc.layers.init import Initial
from cnnc.layers.steps import check_init, cropped, false_unless, given, inits, numbers, padded, padding_arg, symmetric, tuple_text, unless
from cnnc.shapes import Axis, Shape, ShapeError, padding_per_axis, per_axis, windows


def _table(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value or not all(isinstance(row, list | tuple) for row in value):
        raise ValueError(f"a list with the input maps of each output map is needed, such as [[0, 1, 2], [1, 2, 3]], not {describe(value)}")
    for k, row in enumerate(value):
        if not row or any(isinstance(v, bool) or not isinstance(v, int) or v < 0 for v in row):
            raise ValueError(f"output map {k} needs a list of at least one input map, numbered from 0, not {describe(row)}")
        if len(set(row)) != len(row):
            raise ValueError(f"output map {k} lists an input map twice: {describe(row)}")
    return tuple(tuple(row) for row in value)


#: For each output map the input maps that it reads, numbered from 0; None: all of them.
Table = Annotated[tuple[tuple[int, ...], ...] | None, BeforeValidator(_table)]


def _divisors(*numbers: int) -> str:
    shared = math.gcd(*numbers)
    found = [d for d in range(1, min(shared, 4096) + 1) if shared % d == 0]
    return ", ".join(map(str, found[:12])) + (", …" if len(found) > 12 else "")


def check_groups(groups: int, channels: int, out: int | None = None) -> None:
    """Refuse groups that do not divide the channels on either side."""
    for count, what in ((channels, f"the {channels} channels that arrive"), (out, f"`out={out}`")):
        if count is not None and count % groups:
            both = "both" if out is not None else "them"
            raise ShapeError(
                f"`groups={groups}` does not divide {what}",
                field="groups",
                code="E302",
                label=f"{count} / {groups} is not whole",
                notes=(f"{count} = {count // groups} * {groups} + {count % groups}",),
                help=f"numbers that divide {both}: {_divisors(channels, out or channels)}",
            )


def _window(layer: "Conv | Depthwise", axes: tuple[Axis, ...]) -> tuple[dict[str, Arg], Form | None]:
    """The arguments for the window, and the step that pads first where PyTorch's ``padding=`` cannot."""
    cells = symmetric(axes)
    arguments = given(
        stride=unless(layer.stride, 1, "stride"),
        padding=None if cells is None else padding_arg(layer.pad, cells),
        dilation=unless(layer.dilation, 1, "dilation"),
    )
    return arguments, padded([(a.before, a.after) for a in axes]) if cells is None else None


class Conv(Map, keyword="conv", role="convolution", channels_from="out"):
    """Convolution: every output map is a weighted sum of windows of the input maps, plus a bias.

    ``C x W…`` becomes ``out x (W - F + 2P) / S + 1…`` in one, two or three dimensions. ``groups`` cuts the channels into that many
    independent convolutions (Krizhevsky, Sutskever & Hinton 2012, section 3.5). ``connections`` lists for each output map the input
    maps that it reads, numbered from 0 (LeCun et al. 1998, table I). Parameters: ``out * C / groups * F… + out``.
    Source: Dumoulin & Visin 2016, "A guide to convolution arithmetic", relationship 6 (15 with dilation).
    """

    out: Count
    size: Size
    stride: Size = 1
    pad: Pad = 0
    dilation: Size = 1
    groups: Count = 1
    bias: Flag = True
    connections: Table = None
    init: Initial = None
    bias_init: Initial = None
    round: Round = None

    def _pairs(self, x: Shape) -> int:
        """How many (input map, output map) pairs have a kernel."""
        if self.connections is not None:
            return sum(map(len, self.connections))
        return self.out * (x.channels // self.groups)

    def axes(self, x: Shape) -> tuple[Axis, ...]:
        needs_map(x, self.keyword)
        return windows(x, self.size, self.stride, self.pad, self.dilation, self.round)

    def shape(self, x: Shape) -> Shape:
        axes = self.axes(x)
        self._check_connections(x)
        check_groups(self.groups, x.channels, self.out)
        check_init(self.init, "init", dimensions=x.rank + 2)
        check_init(self.bias_init, "bias_init", dimensions=1, owned=self.bias)
        return Shape((self.out, *(a.out for a in axes)))

    def _check_connections(self, x: Shape) -> None:
        if self.connections is None:
            return
        if self.groups != 1:
            raise ShapeError(
                f"`connections` and `groups={self.groups}` both say which maps are connected",
                field="groups",
                code="E307",
                help="take out `groups`: the table can say the same",
            )
        if len(self.connections) != self.out:
            raise ShapeError(
                f"`connections` lists {len(self.connections)} output map{'s' if len(self.connections) != 1 else ''}, but `out={self.out}`",
                field="connections",
                code="E307",
                help=f"write one list of input maps for each of the {self.out} output maps",
            )
        for k, row in enumerate(self.connections):
            if max(row) >= x.channels:
                raise ShapeError(
                    f"output map {k} reads input map {max(row)}, but the {x.channels} maps that arrive are 0 to {x.channels - 1}",
                    field="connections",
                    code="E309",
                    help="input maps are numbered from 0",
                )

    def params(self, x: Shape) -> int:
        return self._pairs(x) * math.prod(per_axis(self.size, x.rank, "size")) + self.out * self.bias

    def macs(self, x: Shape) -> int:
        return self._pairs(x) * math.prod(per_axis(self.size, x.rank, "size")) * math.prod(a.out for a in self.axes(x))

    def ops(self, x: Shape) -> int:
        return self.shape(x).numel * self.bias

    def torch(self, x: Shape) -> Form:
        window, before = _window(self, self.axes(x))
        bias = given(bias=false_unless(self.bias, "bias"))
        if self.connections is not None:
            helper = _connected_helper(x.rank)
            size = tuple_text(per_axis(self.size, x.rank, "size"))
            module = call(helper.name, Arg(list(self.connections), "connections"), size, **window, **bias)
            kernels = () if self.init is None else tuple(self.init.on(f"weights[{k}]") for k in range(self.out))
            return Form(module=module, before=before, helpers=(helper,), inits=(*kernels, *inits(None, self.bias_init)))
        groups = {} if self.groups == 1 else {"groups": Arg(self.groups, "groups")}
        channels = Arg(x.channels, IN_CHANNELS)
        module = call(f"nn.Conv{x.rank}d", channels, Arg(self.out, "out"), numbers(self.size, "size"), **window, **groups, **bias)
        return Form(module=module, before=before, inits=inits(self.init, self.bias_init))


def _connected_helper(rank: int) -> Helper:
    sizes = ", ".join(["int"] * rank)
    either = f"int | tuple[{sizes}]"
    source = f'''\
class ConnectedConv{rank}d(nn.Module):
    """A convolution whose output maps each read the input maps of a list."""

    def __init__(
        self,
        table: list[tuple[int, ...]],
        size: tuple[{sizes}],
        stride: {either} = 1,
        padding: {either} = 0,
        dilation: {either} = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.table = [list(maps) for maps in table]
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        kernels = [torch.empty(1, len(maps), *size) for maps in table]
        bounds = [kernel.numel() ** -0.5 for kernel in kernels]
        drawn = [k.uniform_(-b, b) for k, b in zip(kernels, bounds, strict=True)]
        self.weights = nn.ParameterList(drawn)
        first = torch.cat([torch.empty(1).uniform_(-b, b) for b in bounds])
        self.bias = nn.Parameter(first) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        window = (None, self.stride, self.padding, self.dilation)
        pairs = zip(self.table, self.weights, strict=True)
        y = torch.cat([F.conv{rank}d(x[:, m], w, *window) for m, w in pairs], 1)
        return y if self.bias is None else y + self.bias.view({", ".join(["-1", *["1"] * rank])})
'''
    return Helper(f"ConnectedConv{rank}d", source)


class Depthwise(Map, keyword="depthwise", role="convolution", channels_from=None):
    """Depthwise convolution: every map is convolved on its own, with ``multiplier`` kernels.

    ``C x W…`` becomes ``C * multiplier x (W - F + 2P) / S + 1…``. Parameters: ``C * multiplier * (F… + 1)``.
    Source: Howard et al. 2017, "MobileNets", section 3.1.
    """

    size: Size
    multiplier: Count = 1
    stride: Size = 1
    pad: Pad = 0
    dilation: Size = 1
    bias: Flag = True
    init: Initial = None
    bias_init: Initial = None
    round: Round = None

    def axes(self, x: Shape) -> tuple[Axis, ...]:
        needs_map(x, self.keyword)
        return windows(x, self.size, self.stride, self.pad, self.dilation, self.round)

    def shape(self, x: Shape) -> Shape:
        axes = self.axes(x)
        check_init(self.init, "init", dimensions=x.rank + 2)
        check_init(self.bias_init, "bias_init", dimensions=1, owned=self.bias)
        return Shape((x.channels * self.multiplier, *(a.out for a in axes)))

    def params(self, x: Shape) -> int:
        return x.channels * self.multiplier * (math.prod(per_axis(self.size, x.rank, "size")) + self.bias)

    def macs(self, x: Shape) -> int:
        return self.shape(x).numel * math.prod(per_axis(self.size, x.rank, "size"))

    def ops(self, x: Shape) -> int:
        return self.shape(x).numel * self.bias

    def torch(self, x: Shape) -> Form:
        window, before = _window(self, self.axes(x))
        channels = Arg(x.channels, IN_CHANNELS)
        out = channels if self.multiplier == 1 else Arg(x.channels * self.multiplier)
        groups = {} if x.channels == 1 else {"groups": channels}
        bias = given(bias=false_unless(self.bias, "bias"))
        module = call(f"nn.Conv{x.rank}d", channels, out, numbers(self.size, "size"), **window, **groups, **bias)
        return Form(module=module, before=before, inits=inits(self.init, self.bias_init))


class ConvTranspose(Map, keyword="conv_transpose", role="convolution", channels_from="out"):
    """Transposed convolution: every input cell spreads a weighted kernel over the output, plus a bias.

    ``C x W…`` becomes ``out x (W - 1) * S - 2P + F + output_pad…``; ``pad=same`` gives ``W * S`` (Keras's and TensorFlow's rule: the
    odd cell is cut after). Parameters: ``out * C / groups * F… + out``. Source: Dumoulin & Visin 2016, relationship 14.
    """

    out: Count
    size: Size
    stride: Size = 1
    pad: Pad = 0
    output_pad: Annotated[int | tuple[int, ...], BeforeValidator(lambda v: _output_pad(v))] = 0
    dilation: Size = 1
    groups: Count = 1
    bias: Flag = True
    init: Initial = None
    bias_init: Initial = None

    def _spread(self, x: Shape) -> tuple[tuple[int, int, int, int, int, int], ...]:
        """Along each axis: stride, extent, cells cut before, cells cut after, cells added at the end, output width."""
        rank = needs_map(x, self.keyword)
        sizes = per_axis(self.size, rank, "size")
        strides = per_axis(self.stride, rank, "stride")
        dilations = per_axis(self.dilation, rank, "dilation")
        extras = per_axis(self.output_pad, rank, "output_pad")
        pads = padding_per_axis(self.pad, rank)
        if pads is None and any(extras):
            raise ShapeError(
                "`output_pad` has no meaning beside `pad=same`, which already fixes the output at input * stride",
                field="output_pad",
                code="E307",
                help="take out `output_pad`, or write the padding as a number",
            )
        found = []
        for k, (w, f, s, d, extra) in enumerate(zip(x.spatial, sizes, strides, dilations, extras, strict=True)):
            extent = d * (f - 1) + 1
            if pads is None:
                cut = max(extent - s, 0)
                before, after, extra = cut // 2, cut - cut // 2, max(s - extent, 0)
            else:
                before, after = pads[k]
                if extra >= max(s, d):
                    raise ShapeError(
                        f"`output_pad={extra}` must be less than the stride or the dilation, but they are {s} and {d}",
                        field="output_pad",
                        code="E307",
                        help=f"at most {max(s, d) - 1}, or a larger stride",
                    )
            out = (w - 1) * s + extent - before - after + extra
            if out < 1:
                formula = f"({w} - 1) * {s} + {extent} - {before} - {after} + {extra} = {out}"
                raise ShapeError(
                    f"nothing is left of the output: {formula}",
                    field="pad",
                    code="E301",
                    label=f"a padding of {before} + {after} cuts away all {(w - 1) * s + extent + extra} cells",
                    help=f"a padding of at most {((w - 1) * s + extent + extra - 1) // 2} on each side",
                )
            found.append((s, extent, before, after, extra, out))
        return tuple(found)

    def shape(self, x: Shape) -> Shape:
        spread = self._spread(x)
        check_groups(self.groups, x.channels, self.out)
        check_init(self.init, "init", dimensions=x.rank + 2)
        check_init(self.bias_init, "bias_init", dimensions=1, owned=self.bias)
        return Shape((self.out, *(axis[-1] for axis in spread)))

    def params(self, x: Shape) -> int:
        kernel = math.prod(per_axis(self.size, x.rank, "size"))
        return x.channels * (self.out // self.groups) * kernel + self.out * self.bias

    def macs(self, x: Shape) -> int:
        return x.numel * (self.out // self.groups) * math.prod(per_axis(self.size, x.rank, "size"))

    def ops(self, x: Shape) -> int:
        return self.shape(x).numel * self.bias

    def reach(self, x: Shape) -> tuple[Reach, ...]:
        return tuple(Reach(Fraction(1, s), Fraction(b - e + 1, s), Fraction(b, s)) for s, e, b, _, _, _ in self._spread(x))

    def torch(self, x: Shape) -> Form:
        spread = self._spread(x)
        padding, output_padding, cuts = zip(*(_transposed_axis(b, a, extra) for _, _, b, a, extra, _ in spread), strict=True)
        as_written = padding_per_axis(self.pad, x.rank) == tuple((p, p) for p in padding)
        extra_written = output_padding == per_axis(self.output_pad, x.rank, "output_pad")
        module = call(
            f"nn.ConvTranspose{x.rank}d",
            Arg(x.channels, IN_CHANNELS),
            Arg(self.out, "out"),
            numbers(self.size, "size"),
            **given(
                stride=unless(self.stride, 1, "stride"),
                padding=padding_arg(self.pad if as_written else "valid", padding),
                output_padding=numbers(output_padding, "output_pad" if extra_written else None) if any(output_padding) else None,
                groups=unless(self.groups, 1, "groups"),
                bias=false_unless(self.bias, "bias"),
                dilation=unless(self.dilation, 1, "dilation"),
            ),
        )
        ranges = [(before, before + axis[-1]) for (before, _), axis in zip(cuts, spread, strict=True)]
        after = cropped(ranges) if any(map(any, cuts)) else None
        return Form(module=module, after=after, inits=inits(self.init, self.bias_init))


def _transposed_axis(before: int, after: int, extra: int) -> tuple[int, int, tuple[int, int]]:
    """PyTorch's padding and output padding for one axis, and the cells to cut off its result on either side."""
    if after <= before:
        return after, extra, (before - after, 0)
    if extra >= after - before:
        return before, extra - (after - before), (0, 0)
    return before, 0, (0, after - before - extra)


def _output_pad(value: Any) -> Any:
    low = min(value) if isinstance(value, tuple) and value else value
    if isinstance(low, bool) or not isinstance(low, int):
        raise ValueError(f"a size is a whole number or a literal such as 1x1, not {describe(value)}")
    if low < 0:
        raise ValueError(f"must be at least 0, but is {describe(value)}")
    return tuple(value) if isinstance(value, tuple) else value
