"""Runs what a layer says it is in PyTorch: the oracle for predicted shapes, counts and receptive fields."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cnnc.layers.form import Arg, Form, Helper, literal, write

HEADER = "from __future__ import annotations\n\nimport torch\nimport torch.nn.functional as F\nfrom torch import Tensor, nn\n"

Style = Literal["call", "module"]


def show(arg: Arg) -> str:
    """An argument as the emitted code would print it, without symbolic names."""
    return literal(arg.value)


def helpers_of(form: Form | None) -> list[Helper]:
    """The helpers of a form and of its steps, in order."""
    if form is None:
        return []
    return [*helpers_of(form.before), *form.helpers, *helpers_of(form.after)]


class Built(nn.Module):
    """A layer made executable. ``style`` prefers the function or the module where a form has both."""

    def __init__(self, form: Form, style: Style, namespace: dict[str, Any] | None = None) -> None:
        super().__init__()
        if namespace is None:
            namespace = {"torch": torch, "F": F, "nn": nn, "Tensor": Tensor}
            for helper in helpers_of(form):
                exec(compile("from __future__ import annotations\n\n" + helper.source, helper.name, "exec"), namespace)
        self.form = form
        self.namespace = namespace
        self.before = Built(form.before, style, namespace) if form.before else None
        self.after = Built(form.after, style, namespace) if form.after else None
        wanted = form.module if style == "module" or form.call is None else None
        self.inner: nn.Module | None = None
        if wanted is not None:
            self.inner = eval(write(wanted, (), show), namespace)
            assert isinstance(self.inner, nn.Module)
            for init in form.inits:
                given = ", ".join([f"m.{init.parameter}", *(f"{k}={v!r}" for k, v in init.args)])
                eval(f"{init.function}({given})", {**namespace, "m": self.inner})

    def forward(self, *inputs: Tensor) -> Any:
        if self.before is not None:
            inputs = (self.before(*inputs),)
        if self.inner is not None:
            result = self.inner(*inputs)
        else:
            assert self.form.call is not None
            names = tuple(f"x{k}" for k in range(len(inputs)))
            text = write(self.form.call, names, show)
            result = eval(text, {**self.namespace, **dict(zip(names, inputs, strict=True)), "self": self})
        return result if self.after is None else self.after(result)


def results(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The outputs as a tuple, whether there is one or several."""
    made = model(*inputs)
    return tuple(made) if isinstance(made, tuple | list) else (made,)


def parameters(model: nn.Module) -> int:
    """Numbers that an optimiser would update."""
    return sum(p.numel() for p in model.parameters())


def buffers(model: nn.Module) -> int:
    """Numbers that are kept but not trained, without batch counters."""
    return sum(b.numel() for name, b in model.named_buffers() if not name.endswith("num_batches_tracked"))


def macs(model: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Multiply-accumulates for one image, by PyTorch's own counter."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*inputs)
    return counter.get_total_flops() / 2 / len(inputs[0])


# ----------------------------------------------------------------------------------------- windows, from their definition


def positions(width: int, size: int, stride: int, pad: tuple[int, int], dilation: int, rounding: str | None) -> list[list[int]]:
    """The cells that each window reads, numbered from 0 at the first cell of the input: negative ones are padding."""
    before, after = pad
    extent = (size - 1) * dilation + 1
    starts = []
    start = 0
    while start + extent <= before + width + after:
        starts.append(start)
        start += stride
    whole = starts and starts[-1] + extent == before + width + after
    if starts and rounding == "ceil" and not whole and start < before + width:
        starts.append(start)
    return [[s + k * dilation - before for k in range(size)] for s in starts]


def tensorflow_same(width: int, size: int, stride: int, dilation: int) -> tuple[int, int]:
    """TensorFlow's rule as its documentation states it."""
    extent = (size - 1) * dilation + 1
    total = max(extent - stride, 0) if width % stride == 0 else max(extent - width % stride, 0)
    return total // 2, total - total // 2


def patches(x: Tensor, cells: list[list[list[int]]], fill: float = 0.0) -> Tensor:
    """``B x C x W…`` to ``B x C x out… x size…``, cells outside the map being ``fill``."""
    rank = len(cells)
    for axis, windows in enumerate(cells):
        index = torch.tensor(windows)
        low = max(0, -int(index.min()))
        high = max(0, int(index.max()) + 1 - x.shape[2 + 2 * axis])
        shape = list(x.shape)
        dim = 2 + 2 * axis
        ends = []
        for count in (low, high):
            shape[dim] = count
            ends.append(x.new_full(shape, fill))
        x = torch.cat([ends[0], x, ends[1]], dim)
        x = x.index_select(dim, (index + low).flatten()).unflatten(dim, index.shape)
    outs = [2 + 2 * k for k in range(rank)]
    return x.permute(0, 1, *outs, *(d + 1 for d in outs))


def convolve(x: Tensor, weight: Tensor, cells: list[list[list[int]]], groups: int = 1) -> Tensor:
    """A convolution from its definition; ``weight`` is ``out x C / groups x size…``."""
    rank = len(cells)
    parts = []
    for xs, ws in zip(x.chunk(groups, 1), weight.chunk(groups, 0), strict=True):
        read = patches(xs, cells)
        inner = [1, *range(2 + rank, 2 + 2 * rank)]
        parts.append(torch.tensordot(read, ws, (inner, list(range(1, 2 + rank)))).movedim(-1, 1))
    return torch.cat(parts, 1)
