"""What several families share when they describe themselves in PyTorch: paddings, sizes and helper functions."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from cnnc.layers.form import Arg, Form, Helper, InitCall, Raw, call, template
from cnnc.layers.init import Init
from cnnc.shapes import Axis, Padding, ShapeError, padding_per_axis, per_axis

Pairs = tuple[tuple[int, int], ...]


def plain(value: float) -> str:
    """A number as people write it in code: ``2``, ``0.5``, ``1e-4``."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    if 1e-3 <= abs(value) < 1e6:
        return repr(value)
    return f"{Decimal(repr(value)).normalize():e}".replace("e+", "e")


def number(value: float, field: str | None = None) -> Arg:
    """A real number as an argument, without the noise of ``repr``."""
    return Arg(Raw(plain(value)), field)


def numbers(value: int | tuple[int, ...], field: str | None = None) -> Arg:
    """A size as an argument: one number where it is the same along every axis."""
    if isinstance(value, int):
        return Arg(value, field)
    return Arg(value[0]) if len(value) == 1 else Arg(value, field)


def tuple_text(value: Sequence[object]) -> Raw:
    """A tuple that PyTorch insists on: ``(2, 2)`` is not printed as ``2``."""
    items = [tuple_text(v).text if isinstance(v, tuple | list) else str(v) for v in value]
    return Raw(f"({', '.join(items)}{',' if len(items) == 1 else ''})")


def given(**arguments: Arg | None) -> dict[str, Arg]:
    """Keyword arguments without those that PyTorch would take anyway (None)."""
    return {key: arg for key, arg in arguments.items() if arg is not None}


def unless(value: int | tuple[int, ...], default: int, field: str) -> Arg | None:
    """A size as an argument; None where it is PyTorch's default along every axis."""
    return None if is_all(value, default) else numbers(value, field)


def false_unless(value: bool, field: str) -> Arg | None:
    """``False``; None where the value is true, which is PyTorch's default."""
    return None if value else Arg(False, field)


def torch_order(pads: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """(before, after) pairs in the order of ``F.pad``: the last axis first."""
    return tuple(cells for pair in reversed(pads) for cells in pair)


def padded(pads: Sequence[tuple[int, int]], value: str = "0") -> Form:
    """A step that pads the spatial axes with a constant."""
    cells = torch_order(pads)
    rank = len(pads)
    text = tuple_text(cells)
    if value == "0":
        return Form(module=call(f"nn.ZeroPad{rank}d", cells), call=call("F.pad", text))
    return Form(module=call(f"nn.ConstantPad{rank}d", cells, Raw(value)), call=call("F.pad", text, value=Raw(value)))


def symmetric(axes: Sequence[Axis]) -> tuple[int, ...] | None:
    """The one padding an axis on both sides that gives the very same windows; None where only an uneven one does."""
    if all((a.width + 2 * a.before - a.extent) // a.stride + 1 == a.out for a in axes):
        return tuple(a.before for a in axes)
    return None


def padding_arg(pad: Padding, cells: tuple[int, ...]) -> Arg | None:
    """``padding=``; None where there is none."""
    if not any(cells):
        return None
    if isinstance(pad, int):
        return Arg(pad, "pad")
    written = isinstance(pad, tuple) and all(isinstance(p, int) for p in pad)
    return numbers(cells, "pad" if written else None)


def written_pads(axes: Sequence[Axis], pad: Padding) -> Pairs:
    """The padding as written (or, for ``same``, as worked out), without what ``round=ceil`` adds after it."""
    pads = padding_per_axis(pad, len(axes))
    return tuple((a.before, a.after) for a in axes) if pads is None else pads


def is_all(value: int | tuple[int, ...], what: int) -> bool:
    """Whether a size is ``what`` along every axis."""
    return value == what if isinstance(value, int) else all(v == what for v in value)


def same_size(a: int | tuple[int, ...], b: int | tuple[int, ...], rank: int) -> bool:
    """Whether two sizes mean the same on a map of this rank."""
    return per_axis(a, rank, "size") == per_axis(b, rank, "stride")


def cropped(ranges: Sequence[tuple[int, int]]) -> Form:
    """A step that keeps a range of cells along each spatial axis."""
    return Form(call=template("{0}[..., " + ", ".join(f"{start}:{stop}" for start, stop in ranges) + "]"))


def inits(init: Init | None, bias_init: Init | None) -> tuple[InitCall, ...]:
    """The initialisers that were asked for."""
    return tuple(i.on(name) for i, name in ((init, "weight"), (bias_init, "bias")) if i is not None)


#: initialisers that look at the rows and columns of a matrix, which a bias or a scale does not have
_OF_MATRICES = ("glorot_", "xavier_", "he_", "kaiming_", "orthogonal", "dirac")


def check_init(init: Init | None, field: str, *, dimensions: int, owned: bool = True, without: str = "bias=false") -> None:
    """Refuse an initialiser for a parameter that is not there or that it cannot fill."""
    if init is None:
        return
    if not owned:
        raise ShapeError(
            f"`{field}={init.name}` has nothing to fill: `{without}` leaves the parameter out",
            field=field,
            code="E307",
            help=f"take out `{field}` or `{without}`",
        )
    if dimensions < 2 and init.name.startswith(_OF_MATRICES):
        raise ShapeError(
            f"`{field}={init.name}` needs a parameter with rows and columns, but this one is a list of numbers",
            field=field,
            code="E307",
            help="use a number, or `normal`, `uniform`, `zeros`, `ones`",
        )
    if dimensions < 3 and init.name == "dirac":
        raise ShapeError(
            f"`{field}=dirac` is for convolution kernels, but this weight has {dimensions} dimensions", field=field, code="E307"
        )


WINDOW_SUM = Helper(
    "window_sum",
    '''\
def window_sum(
    x: Tensor,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    pad: tuple[tuple[int, int], ...],
) -> Tensor:
    """Sum every window of a map, one axis after the other; padding counts as zero."""
    axes = zip(size, stride, dilation, pad, strict=True)
    for axis, (cells, step, gap, around) in enumerate(axes, start=2):
        line = F.pad(x.transpose(axis, -1), around)
        windows = line.unfold(-1, gap * (cells - 1) + 1, step)[..., ::gap]
        x = windows.sum(-1).transpose(axis, -1)
    return x
''',
)

CHANNEL_AFFINE = Helper(
    "ChannelAffine",
    '''\
class ChannelAffine(nn.Module):
    """Multiplies each channel by a trained number and, with a bias, adds another."""

    def __init__(self, channels: int, weight: float = 1.0, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), float(weight)))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        shape = (-1, *(1 for _ in x.shape[2:]))
        y = x * self.weight.view(shape)
        return y if self.bias is None else y + self.bias.view(shape)
''',
)
