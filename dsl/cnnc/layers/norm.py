"""Normalisation."""

import math
from typing import Annotated, Literal

from pydantic import Field

from cnnc.layers.base import EVERYTHING, Count, Flag, Map, Reach, Real, needs_map
from cnnc.layers.conv import check_groups
from cnnc.layers.form import IN_CHANNELS, Arg, Form, Helper, Raw, call
from cnnc.layers.init import Init, Initial
from cnnc.layers.steps import check_init, inits, number, plain, tuple_text
from cnnc.shapes import Shape, ShapeError

#: A small positive number that keeps a division finite.
Epsilon = Annotated[Real, Field(gt=0, le=1)]
#: The share of the newest batch in a running mean.
Momentum = Annotated[Real, Field(ge=0, le=1)]


def _check_inits(init: Init | None, bias_init: Init | None, affine: bool) -> None:
    check_init(init, "init", dimensions=1, owned=affine, without="affine=false")
    check_init(bias_init, "bias_init", dimensions=1, owned=affine, without="affine=false")


def _eps(value: float, default: float = 1e-5) -> dict[str, Arg]:
    return {} if value == default else {"eps": number(value, "eps")}


class BatchNorm(Map, keyword="batchnorm", role="normalisation"):
    """Each channel minus its mean over the batch and the map, divided by its standard deviation, then scaled and shifted.

    The shape stays; a vector is normalised feature by feature. Running statistics (two buffers a channel) take the place of the
    batch's when the network is used. ``momentum`` is the share of the newest batch. Parameters: ``2 * C`` unless ``affine=false``.
    ``init`` and ``bias_init`` start the scale and the shift (``init=0`` on a residual branch: Goyal et al. 2017, section 5.1).
    Source: Ioffe & Szegedy 2015, algorithm 1.
    """

    eps: Epsilon = 1e-5
    momentum: Momentum = 0.1
    affine: Flag = True
    init: Initial = None
    bias_init: Initial = None

    def shape(self, x: Shape) -> Shape:
        if x.rank:
            needs_map(x, self.keyword)
        _check_inits(self.init, self.bias_init, self.affine)
        return x

    def params(self, x: Shape) -> int:
        return 2 * x.channels * self.affine

    def buffers(self, x: Shape) -> int:
        return 2 * x.channels

    def ops(self, x: Shape) -> int:
        return (4 if self.affine else 2) * x.numel

    def torch(self, x: Shape) -> Form:
        arguments = _eps(self.eps)
        if self.momentum != 0.1:
            arguments["momentum"] = number(self.momentum, "momentum")
        if not self.affine:
            arguments["affine"] = Arg(False, "affine")
        module = call(f"nn.BatchNorm{max(x.rank, 1)}d", Arg(x.channels, IN_CHANNELS), **arguments)
        return Form(module=module, inits=inits(self.init, self.bias_init))


CHANNEL_NORM = Helper(
    "ChannelLayerNorm",
    '''\
class ChannelLayerNorm(nn.LayerNorm):
    """Layer normalisation over the channels, at each position of a map on its own."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)
''',
)


class LayerNorm(Map, keyword="layernorm", role="normalisation"):
    """Values minus their mean, divided by their standard deviation, for each image on its own; then scaled and shifted.

    The shape stays. What is normalised together: with ``over="channels"`` (the default) the channels at one position of a map, as
    in ConvNeXt; with ``over="all"`` all of ``C x H x W``, as PyTorch's ``LayerNorm((C, H, W))``, with a scale and a shift for every
    number. On a vector it is the features either way. Parameters: ``2 * C``, or ``2 * C * H * W``; none with ``affine=false``.
    Source: Ba, Kiros & Hinton 2016, equation 3; Liu et al. 2022, "A ConvNet for the 2020s", section 2.6.
    """

    eps: Epsilon = 1e-5
    affine: Flag = True
    over: Literal["channels", "all"] = "channels"
    init: Initial = None
    bias_init: Initial = None

    def _whole(self, x: Shape) -> bool:
        return self.over == "all" and x.rank > 0

    def shape(self, x: Shape) -> Shape:
        _check_inits(self.init, self.bias_init, self.affine)
        return x

    def params(self, x: Shape) -> int:
        return 2 * (x.numel if self._whole(x) else x.channels) * self.affine

    def ops(self, x: Shape) -> int:
        return (7 if self.affine else 5) * x.numel

    def reach(self, x: Shape) -> tuple[Reach, ...] | Literal["everything"]:
        return EVERYTHING if self._whole(x) else super().reach(x)

    def torch(self, x: Shape) -> Form:
        arguments = _eps(self.eps)
        if not self.affine:
            arguments["elementwise_affine"] = Arg(False, "affine")
        started = inits(self.init, self.bias_init)
        if self._whole(x):
            return Form(module=call("nn.LayerNorm", tuple_text(x), **arguments), inits=started)
        channels = Arg(x.channels, IN_CHANNELS)
        if x.rank == 0:
            return Form(module=call("nn.LayerNorm", channels, **arguments), inits=started)
        return Form(module=call("ChannelLayerNorm", channels, **arguments), helpers=(CHANNEL_NORM,), inits=started)


def _needs_several(cells: int, keyword: str, what: str) -> None:
    if cells == 1:
        raise ShapeError(
            f"`{keyword}` has nothing to normalise: {what} is a single number, which always becomes 0",
            code="E304",
            help="use `batchnorm` or `layernorm`, or fewer groups",
        )


class GroupNorm(Map, keyword="groupnorm", role="normalisation"):
    """Channels in groups, each group of an image minus its mean, divided by its standard deviation; then scaled and shifted.

    The shape stays. ``groups`` must divide the channels. Parameters: ``2 * C`` unless ``affine=false``.
    Source: Wu & He 2018, "Group normalization", section 3.1.
    """

    groups: Count
    eps: Epsilon = 1e-5
    affine: Flag = True
    init: Initial = None
    bias_init: Initial = None

    def shape(self, x: Shape) -> Shape:
        check_groups(self.groups, x.channels)
        _needs_several(x.numel // self.groups, self.keyword, "each group")
        _check_inits(self.init, self.bias_init, self.affine)
        return x

    def params(self, x: Shape) -> int:
        return 2 * x.channels * self.affine

    def ops(self, x: Shape) -> int:
        return (7 if self.affine else 5) * x.numel

    def reach(self, x: Shape) -> tuple[Reach, ...] | Literal["everything"]:
        return EVERYTHING

    def torch(self, x: Shape) -> Form:
        groups = Arg(self.groups, "groups")
        arguments = _eps(self.eps)
        if not self.affine:
            module = call("nn.GroupNorm", groups, Arg(x.channels, IN_CHANNELS), **arguments, affine=Arg(False, "affine"))
            return Form(module=module, call=call("F.group_norm", groups, **arguments))
        return Form(module=call("nn.GroupNorm", groups, Arg(x.channels, IN_CHANNELS), **arguments), inits=inits(self.init, self.bias_init))


class InstanceNorm(Map, keyword="instancenorm", role="normalisation"):
    """Each map of each image minus its mean, divided by its standard deviation; scaled and shifted with ``affine=true``.

    The shape stays. Parameters: none, or ``2 * C`` with ``affine=true``.
    Source: Ulyanov, Vedaldi & Lempitsky 2016, "Instance normalization", equation 3.
    """

    eps: Epsilon = 1e-5
    affine: Flag = False
    init: Initial = None
    bias_init: Initial = None

    def shape(self, x: Shape) -> Shape:
        needs_map(x, self.keyword)
        _needs_several(math.prod(x.spatial), self.keyword, f"each map of {x}")
        _check_inits(self.init, self.bias_init, self.affine)
        return x

    def params(self, x: Shape) -> int:
        return 2 * x.channels * self.affine

    def ops(self, x: Shape) -> int:
        return (7 if self.affine else 5) * x.numel

    def reach(self, x: Shape) -> tuple[Reach, ...] | Literal["everything"]:
        return EVERYTHING

    def torch(self, x: Shape) -> Form:
        channels = Arg(x.channels, IN_CHANNELS)
        arguments = _eps(self.eps)
        name = f"nn.InstanceNorm{x.rank}d"
        if not self.affine:
            return Form(module=call(name, channels, **arguments), call=call("F.instance_norm", **arguments))
        module = call(name, channels, **arguments, affine=Arg(True, "affine"))
        return Form(module=module, inits=inits(self.init, self.bias_init))


class Lrn(Map, keyword="lrn", role="normalisation"):
    """Local response normalisation: ``x / (k + alpha * sum)**beta``, the sum of squares being over ``size`` neighbouring channels.

    The shape stays; no parameters. This is the paper's formula. PyTorch and Caffe take the mean of the squares instead, that is
    they divide ``alpha`` by ``size``: ``mean=true``. With an even ``size`` there is one neighbour more before than after.
    Source: Krizhevsky, Sutskever & Hinton 2012, section 3.3.
    """

    size: Count
    alpha: Annotated[Real, Field(ge=0)] = 1e-4
    beta: Annotated[Real, Field(ge=0)] = 0.75
    k: Annotated[Real, Field(ge=0)] = 2.0
    mean: Flag = False

    def shape(self, x: Shape) -> Shape:
        needs_map(x, self.keyword)
        return x

    def ops(self, x: Shape) -> int:
        return (self.size + 4) * x.numel

    def torch(self, x: Shape) -> Form:
        arguments: dict[str, Arg] = {}
        if not self.mean:
            arguments["alpha"] = Arg(Raw(f"{self.size} * {plain(self.alpha)}"))
        elif self.alpha != 1e-4:
            arguments["alpha"] = number(self.alpha, "alpha")
        if self.beta != 0.75:
            arguments["beta"] = number(self.beta, "beta")
        if self.k != 1:
            arguments["k"] = number(self.k, "k")
        size = Arg(self.size, "size")
        return Form(
            module=call("nn.LocalResponseNorm", size, **arguments),
            call=call("F.local_response_norm", size, **arguments),
        )


L2_NORM = Helper(
    "L2Norm",
    '''\
class L2Norm(nn.Module):
    """Scales the channels at each position to length 1, then each by a trained number."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), float(scale)))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.view(-1, *(1 for _ in x.shape[2:]))
        return F.normalize(x, dim=1) * weight
''',
)


class L2Norm(Map, keyword="l2norm", role="normalisation"):
    """The channels at each position of a map divided by their Euclidean length (at least 1e-12), so that it becomes 1.

    The shape stays; a vector is divided by its own length. ``scale`` adds a trained factor a channel that starts at this value
    (SSD: 20). Parameters: ``C`` with ``scale``, else none. Source: Liu, Rabinovich & Berg 2016, "ParseNet", section 3.3.
    """

    scale: Real | None = None

    def params(self, x: Shape) -> int:
        return 0 if self.scale is None else x.channels

    def ops(self, x: Shape) -> int:
        return (3 if self.scale is None else 4) * x.numel

    def torch(self, x: Shape) -> Form:
        if self.scale is None:
            return Form(call=call("F.normalize", dim=1))
        return Form(module=call("L2Norm", Arg(x.channels, IN_CHANNELS), number(self.scale, "scale")), helpers=(L2_NORM,))
