"""Pooling: windows without weights (and LeNet-5's, which has two a map)."""

import math
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field

from cnnc.layers.base import EVERYTHING, Flag, Map, Pad, Reach, Real, Round, Size, needs_map
from cnnc.layers.form import IN_CHANNELS, Arg, Call, Form, Helper, Raw, call
from cnnc.layers.init import Initial
from cnnc.layers.steps import (
    CHANNEL_AFFINE,
    WINDOW_SUM,
    check_init,
    inits,
    is_all,
    number,
    numbers,
    padded,
    padding_arg,
    same_size,
    symmetric,
    tuple_text,
    written_pads,
)
from cnnc.shapes import Axis, Shape, ShapeError, per_axis, windows


class _Pool(Map):
    """What all pools share: a window, which by default moves on by its own size."""

    size: Size
    stride: Size | None = None
    pad: Pad = 0
    dilation: Size = 1
    round: Round = None

    def axes(self, x: Shape) -> tuple[Axis, ...]:
        needs_map(x, self.keyword)
        return windows(x, self.size, self.size if self.stride is None else self.stride, self.pad, self.dilation, self.round)

    def shape(self, x: Shape) -> Shape:
        return x.with_spatial([a.out for a in self.axes(x)])

    def _cells(self, x: Shape) -> int:
        """Cells in a window."""
        return math.prod(per_axis(self.size, x.rank, "size"))

    def _native_padding(self, axes: tuple[Axis, ...]) -> tuple[int, ...] | None:
        """The padding with which PyTorch's own pool does the same; None where it cannot.

        It refuses a padding of more than half the window, and ``avg_pool3d`` a map that is smaller than the window before padding.
        """
        if len(axes) == 3 and self.keyword != "maxpool" and any(a.width < a.size for a in axes):
            return None
        written = written_pads(axes, self.pad)
        if self.round == "ceil":
            cells = tuple(before for before, _ in written) if all(b == a for b, a in written) else None
        else:
            cells = symmetric(axes)
        return cells if cells is not None and all(2 * p <= a.size for p, a in zip(cells, axes, strict=True)) else None

    def _arguments(self, rank: int, padding: Arg | None) -> dict[str, Arg]:
        arguments = {"padding": padding}
        if self.stride is not None and not same_size(self.size, self.stride, rank):
            arguments = {"stride": numbers(self.stride, "stride"), "padding": padding}
        return {k: v for k, v in arguments.items() if v is not None}

    def _window(self, axes: tuple[Axis, ...]) -> dict[str, Arg]:
        """The arguments of :data:`WINDOW_SUM`."""
        return {
            "size": Arg(tuple_text([a.size for a in axes])),
            "stride": Arg(tuple_text([a.stride for a in axes])),
            "dilation": Arg(tuple_text([a.dilation for a in axes])),
            "pad": Arg(tuple_text([(a.before, a.after) for a in axes])),
        }


def _both(function: str, module: str, size: Arg, arguments: dict[str, Arg]) -> tuple[Call, Call]:
    return call(module, size, **arguments), call(function, size, **arguments)


def needs_cells(axes: tuple[Axis, ...], keyword: str, outcome: str) -> None:
    """Refuse windows that read nothing but padding."""
    for axis in axes:
        empty = _empty_window(axis)
        if empty is not None:
            at = axis.size - 1
            raise ShapeError(
                f"a window of `{keyword}` lies wholly in the padding: window {empty} of {axis.out} reads none of the {axis.width} cells",
                field="pad",
                code="E306",
                label=f"{outcome} of nothing but padding",
                notes=(f"the window spans {axis.extent} cells, the padding {axis.before} before and {axis.after} after",),
                help=f"a padding of at most {at} on each side" if axis.dilation == 1 else "less padding, or a smaller dilation",
            )


def _empty_window(axis: Axis) -> int | None:
    """The first window without a cell of the input in it, numbered from 0."""
    last = (axis.out - 1) * axis.stride - axis.before
    if last >= axis.width:
        return (axis.width + axis.before - 1) // axis.stride + 1
    early = min(axis.out, -(-axis.before // axis.stride))
    if axis.dilation <= axis.width:
        return 0 if early and -(-axis.before // axis.dilation) >= axis.size else None
    for k in range(early):
        start = k * axis.stride - axis.before
        taps = -(start // axis.dilation)
        if taps >= axis.size or start + taps * axis.dilation >= axis.width:
            return k
    return None


class MaxPool(_Pool, keyword="maxpool", role="pooling"):
    """The largest value in each window, channel by channel. Padding never wins: it counts as minus infinity.

    ``C x W…`` becomes ``C x (W - F + 2P) / S + 1…``; the stride is the window's size unless given. No parameters.
    Source: Krizhevsky, Sutskever & Hinton 2012, section 3.4 (overlapping pooling); Dumoulin & Visin 2016, section 3.
    """

    def shape(self, x: Shape) -> Shape:
        needs_cells(self.axes(x), self.keyword, "the maximum")
        return super().shape(x)

    def ops(self, x: Shape) -> int:
        return self.shape(x).numel * (self._cells(x) - 1)

    def torch(self, x: Shape) -> Form:
        axes = self.axes(x)
        cells = self._native_padding(axes)
        arguments = self._arguments(x.rank, None if cells is None else padding_arg(self.pad, cells))
        if not is_all(self.dilation, 1):
            arguments["dilation"] = numbers(self.dilation, "dilation")
        if cells is not None and self.round == "ceil":
            arguments["ceil_mode"] = Arg(True)
        module, function = _both(f"F.max_pool{x.rank}d", f"nn.MaxPool{x.rank}d", numbers(self.size, "size"), arguments)
        before = padded([(a.before, a.after) for a in axes], 'float("-inf")') if cells is None else None
        return Form(module=module, call=function, before=before)


AVERAGE_POOL = Helper(
    "average_pool",
    '''\
def average_pool(
    x: Tensor,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    pad: tuple[tuple[int, int], ...],
    counted: tuple[tuple[int, int], ...],
) -> Tensor:
    """Average every window over its input cells and the `counted` part of its padding."""
    pairs = list(zip(pad, counted, strict=True))
    widths = [w + c[0] + c[1] for w, c in zip(x.shape[2:], counted, strict=True)]
    rest = tuple((p[0] - c[0], p[1] - c[1]) for p, c in pairs)
    cells = window_sum(x.new_ones(1, 1, *widths), size, stride, dilation, rest)
    return window_sum(x, size, stride, dilation, pad) / cells
''',
)


class AvgPool(_Pool, keyword="avgpool", role="pooling"):
    """The mean of each window, channel by channel.

    ``C x W…`` becomes ``C x (W - F + 2P) / S + 1…``; the stride is the window's size unless given. Cells of a padding given as a
    number count in the mean (as zeros, PyTorch's rule), those of ``pad=same`` do not (TensorFlow's); ``count_pad`` says otherwise.
    Cells that ``round=ceil`` adds past the padding never count. No parameters. Source: Dumoulin & Visin 2016, section 3.
    """

    count_pad: Flag | None = None

    @property
    def counts(self) -> bool:
        """Whether padding counts in the mean."""
        return self.pad != "same" if self.count_pad is None else self.count_pad

    def shape(self, x: Shape) -> Shape:
        if not self.counts:
            needs_cells(self.axes(x), self.keyword, "the mean")
        return super().shape(x)

    def ops(self, x: Shape) -> int:
        return self.shape(x).numel * self._cells(x)

    def torch(self, x: Shape) -> Form:
        axes = self.axes(x)
        cells = self._native_padding(axes)
        written = written_pads(axes, self.pad)
        dilated = not is_all(self.dilation, 1)
        uneven = cells is None and (self.round == "ceil" or not self.counts)
        if dilated or uneven:
            counted = written if self.counts else tuple((0, 0) for _ in axes)
            function = call("average_pool", **self._window(axes), counted=tuple_text(counted))
            return Form(call=function, helpers=(WINDOW_SUM, AVERAGE_POOL))
        arguments = self._arguments(x.rank, None if cells is None else padding_arg(self.pad, cells))
        if cells is not None and self.round == "ceil":
            arguments["ceil_mode"] = Arg(True)
        if not self.counts and any(map(any, written)):
            arguments["count_include_pad"] = Arg(False)
        module, function = _both(f"F.avg_pool{x.rank}d", f"nn.AvgPool{x.rank}d", numbers(self.size, "size"), arguments)
        return Form(module=module, call=function, before=padded(written) if cells is None else None)


LP_POOL = Helper(
    "lp_pool",
    '''\
def lp_pool(
    x: Tensor,
    p: float,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    pad: tuple[tuple[int, int], ...],
) -> Tensor:
    """The p-norm of every window; padding counts as zero."""
    powers = x.abs().pow(p)
    return window_sum(powers, size, stride, dilation, pad).pow(1 / p)
''',
)


class LpPool(_Pool, keyword="lppool", role="pooling"):
    """The p-norm of each window, channel by channel: ``(sum |x|**p)**(1/p)``; a sum for ``p=1``, near the maximum for a large ``p``.

    ``C x W…`` becomes ``C x (W - F + 2P) / S + 1…``; the stride is the window's size unless given. Padding counts as zeros.
    No parameters. Source: Sermanet, Chintala & LeCun 2012, "Convolutional neural networks applied to house numbers digit classification".
    """

    p: Annotated[Real, Field(ge=1, le=64)] = 2.0

    def ops(self, x: Shape) -> int:
        return self.shape(x).numel * 2 * self._cells(x)

    def torch(self, x: Shape) -> Form:
        axes = self.axes(x)
        even = self.p % 2 == 0
        plain = is_all(self.dilation, 1) and all(a.before == 0 and symmetric([a]) is not None for a in axes)
        if not (even and plain):
            return Form(call=call("lp_pool", number(self.p, "p"), **self._window(axes)), helpers=(WINDOW_SUM, LP_POOL))
        arguments = self._arguments(x.rank, None)
        size = numbers(self.size, "size")
        return Form(
            module=call(f"nn.LPPool{x.rank}d", number(self.p, "p"), size, **arguments),
            call=call(f"F.lp_pool{x.rank}d", number(self.p, "p"), size, **arguments),
        )


class Subsample(_Pool, keyword="subsample", role="pooling"):
    """LeNet-5's pooling: the sum of each window, times a trained coefficient, plus a trained bias; one of each for every map.

    ``C x W…`` becomes ``C x (W - F + 2P) / S + 1…``; the stride is the window's size unless given. The coefficient starts at one over
    the window's cells (so that the layer starts as a mean), the bias at 0. Padding counts as zeros. Parameters: ``2 * C``.
    Source: LeCun et al. 1998, section II.B (layers S2 and S4).
    """

    init: Initial = None
    bias_init: Initial = None

    def shape(self, x: Shape) -> Shape:
        made = super().shape(x)
        check_init(self.init, "init", dimensions=1)
        check_init(self.bias_init, "bias_init", dimensions=1)
        return made

    def params(self, x: Shape) -> int:
        return 2 * x.channels

    def ops(self, x: Shape) -> int:
        return self.shape(x).numel * (self._cells(x) + 1)

    def torch(self, x: Shape) -> Form:
        axes = self.axes(x)
        cells = self._native_padding(axes)
        if x.rank == 1 or cells is None or not is_all(self.dilation, 1):
            total = Form(call=call("window_sum", **self._window(axes)))
        else:
            arguments = self._arguments(x.rank, padding_arg(self.pad, cells))
            if self.round == "ceil":
                arguments["ceil_mode"] = Arg(True)
            arguments["divisor_override"] = Arg(1)
            module, function = _both(f"F.avg_pool{x.rank}d", f"nn.AvgPool{x.rank}d", numbers(self.size, "size"), arguments)
            total = Form(module=module, call=function)
        start = Raw(f"1 / {self._cells(x)}")
        return Form(
            module=call("ChannelAffine", Arg(x.channels, IN_CHANNELS), start),
            before=total,
            helpers=(*(() if total.module else (WINDOW_SUM,)), CHANNEL_AFFINE),
            inits=inits(self.init, self.bias_init),
        )


class _Global(Map):
    def shape(self, x: Shape) -> Shape:
        needs_map(x, self.keyword)
        return x.with_spatial([1] * x.rank)

    def reach(self, x: Shape) -> tuple[Reach, ...] | Literal["everything"]:
        return EVERYTHING


class GlobalAvgPool(_Global, keyword="global_avgpool", role="pooling"):
    """The mean of each whole map: ``C x W…`` becomes ``C x 1…``, so the rank stays.

    No parameters. Source: Lin, Chen & Yan 2014, "Network in network", section 3.2.
    """

    def ops(self, x: Shape) -> int:
        return x.numel

    def torch(self, x: Shape) -> Form:
        return Form(module=call(f"nn.AdaptiveAvgPool{x.rank}d", 1), call=call(f"F.adaptive_avg_pool{x.rank}d", 1))


class GlobalMaxPool(_Global, keyword="global_maxpool", role="pooling"):
    """The largest value of each whole map: ``C x W…`` becomes ``C x 1…``, so the rank stays.

    No parameters. Source: Oquab et al. 2015, "Is object localization for free?", section 3.
    """

    def ops(self, x: Shape) -> int:
        return x.numel - x.channels

    def torch(self, x: Shape) -> Form:
        return Form(module=call(f"nn.AdaptiveMaxPool{x.rank}d", 1), call=call(f"F.adaptive_max_pool{x.rank}d", 1))


def adaptive_reach(width: int, out: int) -> Reach:
    """Cell ``i`` reads ``floor(i * width / out)`` up to ``ceil((i + 1) * width / out) - 1``."""
    step = Fraction(width, out)
    grain = Fraction(1, step.denominator)
    return Reach(step, grain - 1, step - grain)


class _Adaptive(Map):
    size: Size

    def shape(self, x: Shape) -> Shape:
        needs_map(x, self.keyword)
        return x.with_spatial(per_axis(self.size, x.rank, "size"))

    def reach(self, x: Shape) -> tuple[Reach, ...]:
        return tuple(adaptive_reach(w, o) for w, o in zip(x.spatial, self.shape(x).spatial, strict=True))

    def _window_sums(self, x: Shape) -> int:
        """Cells read by all windows together, one channel."""
        sizes = zip(x.spatial, self.shape(x).spatial, strict=True)
        # the windows of one axis overlap in one cell wherever i * w / o is not whole: o - gcd(w, o) times
        return math.prod(w + o - math.gcd(w, o) for w, o in sizes)


class AdaptiveAvgPool(_Adaptive, keyword="adaptive_avgpool", role="pooling"):
    """Means over windows chosen so that the output has a given size, whatever the input's: ``C x W…`` becomes ``C x size…``.

    Window ``i`` goes from ``floor(i * W / size)`` to ``ceil((i + 1) * W / size)``. No parameters.
    Source: He et al. 2014, "Spatial pyramid pooling", section 2.2; PyTorch's ``AdaptiveAvgPool2d``.
    """

    def ops(self, x: Shape) -> int:
        return x.channels * self._window_sums(x)

    def torch(self, x: Shape) -> Form:
        size = numbers(self.size, "size")
        return Form(module=call(f"nn.AdaptiveAvgPool{x.rank}d", size), call=call(f"F.adaptive_avg_pool{x.rank}d", size))


class AdaptiveMaxPool(_Adaptive, keyword="adaptive_maxpool", role="pooling"):
    """Maxima over windows chosen so that the output has a given size, whatever the input's: ``C x W…`` becomes ``C x size…``.

    Window ``i`` goes from ``floor(i * W / size)`` to ``ceil((i + 1) * W / size)``. No parameters.
    Source: He et al. 2014, "Spatial pyramid pooling", section 2.2; PyTorch's ``AdaptiveMaxPool2d``.
    """

    def ops(self, x: Shape) -> int:
        return x.channels * self._window_sums(x) - self.shape(x).numel

    def torch(self, x: Shape) -> Form:
        size = numbers(self.size, "size")
        return Form(module=call(f"nn.AdaptiveMaxPool{x.rank}d", size), call=call(f"F.adaptive_max_pool{x.rank}d", size))
