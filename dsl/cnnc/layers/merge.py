"""Merges: several values become one."""

import math

from cnnc.layers.base import Merge
from cnnc.layers.form import Form, template
from cnnc.shapes import Shape, ShapeError


def _listed(inputs: tuple[Shape, ...]) -> tuple[str, ...]:
    return tuple(f"branch {k}: {x}" for k, x in enumerate(inputs, start=1))


def _needs_inputs(inputs: tuple[Shape, ...], keyword: str, code: str) -> None:
    if not inputs:
        raise ShapeError(f"`{keyword}` has no branches to join", code=code, help="write at least one branch")


class Concat(Merge, keyword="concat", role="merge", channels_from="sum"):
    """Joins maps channel after channel, in the order of the branches.

    ``C1 x W…``, ``C2 x W…``, … become ``C1 + C2 + … x W…``: all but the channels must agree. No parameters.
    Source: Szegedy et al. 2015, "Going deeper with convolutions", section 4.
    """

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        _needs_inputs(inputs, self.keyword, "E310")
        first = inputs[0]
        for k, x in enumerate(inputs[1:], start=2):
            if x.spatial != first.spatial:
                if x.rank != first.rank:
                    what = f"branch {k} is {x}, with {x.rank} spatial dimension{'s' if x.rank != 1 else ''} instead of {first.rank}"
                else:
                    sizes = "x".join(map(str, x.spatial)), "x".join(map(str, first.spatial))
                    what = f"branch {k} is {sizes[0]} where branch 1 is {sizes[1]}"
                raise ShapeError(
                    f"`concat` needs maps of one size, but {what}",
                    code="E310",
                    label=f"branch {k} does not fit branch 1",
                    notes=_listed(inputs),
                    help="pad, pool or resize one of them, or cut the larger with `crop_like`",
                )
        return first.with_channels(sum(x.channels for x in inputs))

    def form(self, inputs: tuple[Shape, ...]) -> Form:
        return Form(call=template("torch.cat([{*}], 1)"))


class _Arithmetic(Merge):
    """Cell by cell; ``Cx1x1`` goes with ``CxHxW``."""

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        _needs_inputs(inputs, self.keyword, "E311")
        result = max(inputs, key=lambda x: (x.rank, math.prod(x.spatial)))
        at = inputs.index(result) + 1
        for k, x in enumerate(inputs, start=1):
            if x == result or (x.rank == result.rank and x.channels == result.channels and all(w == 1 for w in x.spatial)):
                continue
            if x.rank != result.rank:
                what = f"branch {k} is {x} and branch {at} is {result}"
                help_ = "`reshape` or `global_avgpool` make them alike: a vector does not spread over a map, a Cx1x1 does"
            elif x.channels != result.channels:
                what = f"branch {k} has {x.channels} channels and branch {at} {result.channels}"
                help_ = f"give both {result.channels} channels, for example with `conv({result.channels}, 1)` on branch {k}"
            else:
                sizes = "x".join(map(str, x.spatial)), "x".join(map(str, result.spatial))
                what = f"branch {k} is {sizes[0]} and branch {at} is {sizes[1]}"
                help_ = "the same stride in both branches, or `pad` in the one that shrinks"
            raise ShapeError(
                f"`{self.keyword}` needs equal shapes, but {what}",
                code="E311",
                label=f"branch {k} does not fit branch {at}",
                notes=_listed(inputs),
                help=help_,
            )
        return result

    def count_ops(self, inputs: tuple[Shape, ...]) -> int:
        return (len(inputs) - 1) * self.shape(inputs).numel

    def _joined(self, inputs: tuple[Shape, ...], sign: str) -> Form:
        return Form(call=template(f" {sign} ".join(f"{{{k}}}" for k in range(len(inputs))), infix=len(inputs) > 1))


class Add(_Arithmetic, keyword="add", role="merge"):
    """The sum of the branches, cell by cell; a ``C x 1…`` is added to every cell of a ``C x W…``.

    Shapes must otherwise agree. No parameters. Source: He et al. 2016, "Deep residual learning", equation 1.
    """

    def form(self, inputs: tuple[Shape, ...]) -> Form:
        return self._joined(inputs, "+")


class Mul(_Arithmetic, keyword="mul", role="merge"):
    """The product of the branches, cell by cell; a ``C x 1…`` multiplies every cell of a ``C x W…``.

    Shapes must otherwise agree. No parameters. Source: Hu, Shen & Sun 2018, "Squeeze-and-excitation networks", equation 4.
    """

    def form(self, inputs: tuple[Shape, ...]) -> Form:
        return self._joined(inputs, "*")
