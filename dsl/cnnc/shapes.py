"""Shapes and window arithmetic, with the formula as text.

A shape is channels first and without the batch: ``(96, 55, 55)``, written ``96x55x55``. The rule of every window is
``(W - F + 2P) / S + 1`` (Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016, relationships 5, 6 and 15).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Rounding = Literal["floor", "ceil", "exact"]
Padding = int | tuple[int, ...] | tuple[tuple[int, int], ...] | Literal["same", "valid"]


class Shape(tuple[int, ...]):
    """Sizes joined by ``x``: the shape of a value (channels first, no batch) or a size literal such as ``1x7``."""

    __slots__ = ()

    def __str__(self) -> str:
        return "x".join(map(str, self))

    def __repr__(self) -> str:
        return f"Shape({self})"

    @property
    def channels(self) -> int:
        """The first number: channels of a map, features of a vector."""
        return self[0]

    @property
    def spatial(self) -> tuple[int, ...]:
        """What follows the channels: ``(height, width)`` of an image."""
        return self[1:]

    @property
    def rank(self) -> int:
        """How many spatial dimensions there are: 0 for a vector, 2 for an image."""
        return len(self) - 1

    @property
    def numel(self) -> int:
        """How many numbers a value of this shape holds."""
        return math.prod(self)

    def with_channels(self, channels: int) -> Shape:
        """The same map with another number of channels."""
        return Shape((channels, *self[1:]))

    def with_spatial(self, spatial: Sequence[int]) -> Shape:
        """The same channels on a map of another size."""
        return Shape((self[0], *spatial))


class ShapeError(Exception):
    """A layer refuses its input. Blames a field of the layer (or, with None, the layer as a whole), never a place.

    ``message`` becomes the headline of a diagnostic, ``label`` the words at the place, ``notes`` the facts below it.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        code: str = "E300",
        label: str = "",
        notes: tuple[str, ...] = (),
        help: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.code = code
        self.label = label
        self.notes = notes
        self.help = help


@dataclass(frozen=True, slots=True)
class Axis:
    """One spatial axis under a window: the numbers that went in and what came out.

    ``before`` and ``after`` are the cells of padding that are really there; with ``round=ceil`` a convolution may need more
    ``after`` than was written. ``unread`` counts input cells at the end that no window ever touches.
    """

    width: int
    size: int
    stride: int
    before: int
    after: int
    dilation: int
    out: int
    unread: int

    @property
    def extent(self) -> int:
        """The cells from a window's first to its last, holes of the dilation included."""
        return self.dilation * (self.size - 1) + 1

    @property
    def formula(self) -> str:
        """``(W - F + 2P) / S + 1`` with this axis's numbers."""
        return window_formula(self.width, self.size, self.stride, self.before, self.after, self.dilation)


def number(value: float) -> str:
    """A quotient as people write it: ``54.25``, ``27``, ``54.333``."""
    return str(int(value)) if value == int(value) else f"{value:.3f}".rstrip("0")


def window_formula(width: int, size: int, stride: int, before: int, after: int, dilation: int = 1) -> str:
    """The substituted formula and its value, before any rounding."""
    extent = dilation * (size - 1) + 1
    shown = str(size) if dilation == 1 else f"({dilation}*({size} - 1) + 1)"
    padding = f"2*{before}" if before == after else f"{before} + {after}"
    value = (width - extent + before + after) / stride + 1
    return f"({width} - {shown} + {padding}) / {stride} + 1 = {number(value)}"


def per_axis(value: int | tuple[int, ...], rank: int, field: str) -> tuple[int, ...]:
    """A size for each spatial axis: an int goes for all of them. Raises ShapeError when the count is wrong."""
    if isinstance(value, int):
        return (value,) * rank
    if len(value) != rank:
        text = "x".join(map(str, value))
        raise ShapeError(
            f"`{field}={text}` has {len(value)} numbers, but the map has {rank} spatial dimension{'s' if rank != 1 else ''}",
            field=field,
            code="E303",
            help=f"write one number for all axes, or {rank}",
        )
    return tuple(value)


def padding_per_axis(pad: Padding, rank: int) -> tuple[tuple[int, int], ...] | None:
    """(before, after) for each axis; None for ``same``, which depends on the width."""
    if pad == "same":
        return None
    if pad == "valid":
        return ((0, 0),) * rank
    if isinstance(pad, int):
        return ((pad, pad),) * rank
    assert not isinstance(pad, str)
    if len(pad) != rank:
        raise ShapeError(
            f"`pad` has {len(pad)} entries, but the map has {rank} spatial dimension{'s' if rank != 1 else ''}",
            field="pad",
            code="E303",
            help=f"write one number for all axes, or {rank} entries",
        )
    return tuple((p, p) if isinstance(p, int) else (p[0], p[1]) for p in pad)


def same_padding(width: int, size: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """The padding that keeps ``ceil(width / stride)``; an odd cell goes after (TensorFlow's rule)."""
    out = -(-width // stride)
    total = max((out - 1) * stride + dilation * (size - 1) + 1 - width, 0)
    return total // 2, total - total // 2


def slide(
    width: int, size: int, stride: int, pad: tuple[int, int] | None, dilation: int, rounding: Rounding | None, *, label: str = ""
) -> Axis:
    """A window over one axis; ``pad`` None means ``same``. Raises ShapeError when no window fits.

    ``ceil`` follows Caffe and PyTorch: a last window that would start wholly in the padding is dropped.
    """
    before, after = same_padding(width, size, stride, dilation) if pad is None else pad
    extent = dilation * (size - 1) + 1
    room = width + before + after - extent
    formula = window_formula(width, size, stride, before, after, dilation)
    if room < 0:
        raise ShapeError(
            f"the window does not fit: {formula}",
            field="size",
            code="E301",
            label=f"a window of {extent} on {width + before + after} cells{' with padding' if before + after else ''}{label}",
            help=f"a kernel of at most {(width + before + after - 1) // dilation + 1}, or an input of at least {extent - before - after}",
        )
    left = room % stride
    out = room // stride + 1
    if left and rounding == "exact":
        raise ShapeError(
            f"the window does not fit: {formula}",
            field="round",
            code="E301",
            label=f"round=exact, but {left} cell{'s are' if left != 1 else ' is'} left over{label}",
            help=f"an input of {width - left} or {width - left + stride} comes out whole",
        )
    if left and rounding == "ceil" and out * stride < width + before:
        out += 1
        after = max(after, (out - 1) * stride + extent - width - before)
    unread = max(0, width + before - ((out - 1) * stride + extent))
    return Axis(width, size, stride, before, after, dilation, out, unread)


def windows(
    x: Shape,
    size: int | tuple[int, ...],
    stride: int | tuple[int, ...],
    pad: Padding,
    dilation: int | tuple[int, ...] = 1,
    rounding: Rounding | None = None,
) -> tuple[Axis, ...]:
    """A window over every spatial axis of ``x``: what each axis becomes, and why."""
    rank = x.rank
    sizes = per_axis(size, rank, "size")
    strides = per_axis(stride, rank, "stride")
    dilations = per_axis(dilation, rank, "dilation")
    pads = padding_per_axis(pad, rank) or (None,) * rank
    return tuple(slide(w, f, s, p, d, rounding) for w, f, s, p, d in zip(x.spatial, sizes, strides, pads, dilations, strict=True))
