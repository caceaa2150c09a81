"""Dense layers: every output reads every input."""

from typing import Literal

from cnnc.layers.base import EVERYTHING, Count, Flag, Map, Reach, needs_vector
from cnnc.layers.form import IN_CHANNELS, Arg, Form, Helper, call
from cnnc.layers.init import Initial
from cnnc.layers.steps import check_init, false_unless, given, inits
from cnnc.shapes import Shape


class Linear(Map, keyword="linear", role="dense", channels_from="out"):
    """A fully connected layer: every output is a weighted sum of all features, plus a bias.

    A vector of ``N`` becomes a vector of ``out``. Parameters: ``N * out + out``. A map has to go through ``flatten`` first.
    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.B (layer F6).
    """

    out: Count
    bias: Flag = True
    init: Initial = None
    bias_init: Initial = None

    def shape(self, x: Shape) -> Shape:
        needs_vector(x, self.keyword)
        check_init(self.init, "init", dimensions=2)
        check_init(self.bias_init, "bias_init", dimensions=1, owned=self.bias)
        return Shape((self.out,))

    def params(self, x: Shape) -> int:
        return x.numel * self.out + self.out * self.bias

    def macs(self, x: Shape) -> int:
        return x.numel * self.out

    def ops(self, x: Shape) -> int:
        return self.out * self.bias

    def reach(self, x: Shape) -> tuple[Reach, ...] | Literal["everything"]:
        return EVERYTHING

    def torch(self, x: Shape) -> Form:
        bias = given(bias=false_unless(self.bias, "bias"))
        module = call("nn.Linear", Arg(x.channels, IN_CHANNELS), Arg(self.out, "out"), **bias)
        return Form(module=module, inits=inits(self.init, self.bias_init))


RBF_UNITS = Helper(
    "RBF",
    '''\
class RBF(nn.Module):
    """Squared distances to codes of +1 and -1, drawn from a fixed seed (LeNet-5)."""

    codes: Tensor

    def __init__(self, features: int, out: int, trainable: bool = False) -> None:
        super().__init__()
        seeded = torch.Generator().manual_seed(1998)
        bits = torch.randint(2, (out, features), generator=seeded)
        codes = bits * 2.0 - 1.0
        if trainable:
            self.codes = nn.Parameter(codes)
        else:
            self.register_buffer("codes", codes)

    def forward(self, x: Tensor) -> Tensor:
        return (x.unsqueeze(1) - self.codes).square().sum(2)
''',
)


class Rbf(Map, keyword="rbf", role="dense", channels_from="out"):
    """Euclidean radial basis units: ``y_j = sum_i (x_i - w_ij)**2``, the smaller the better the match.

    A vector of ``N`` becomes a vector of ``out``. The centres are codes of +1 and -1, fixed unless ``trainable``: ``N * out`` buffers
    and no parameters. The paper draws the codes as stylised bitmaps and allows random ones, which these are (from a fixed seed).
    Source: LeCun et al. 1998, equation 7.
    """

    out: Count
    trainable: Flag = False

    def shape(self, x: Shape) -> Shape:
        needs_vector(x, self.keyword)
        return Shape((self.out,))

    def params(self, x: Shape) -> int:
        return x.numel * self.out * self.trainable

    def buffers(self, x: Shape) -> int:
        return x.numel * self.out * (not self.trainable)

    def ops(self, x: Shape) -> int:
        return (3 * x.numel - 1) * self.out

    def reach(self, x: Shape) -> tuple[Reach, ...] | Literal["everything"]:
        return EVERYTHING

    def torch(self, x: Shape) -> Form:
        trainable = {"trainable": Arg(True, "trainable")} if self.trainable else {}
        return Form(module=call("RBF", Arg(x.channels, IN_CHANNELS), Arg(self.out, "out"), **trainable), helpers=(RBF_UNITS,))
