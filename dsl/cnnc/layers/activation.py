"""Activations: one function, cell by cell (softmax: over the channels of each cell)."""

from typing import Annotated, ClassVar

from pydantic import Field

from cnnc.layers.base import Flag, Map, Real
from cnnc.layers.form import IN_CHANNELS, Arg, Form, Raw, call, template
from cnnc.layers.steps import number
from cnnc.shapes import Shape


class _Activation(Map):
    """A function of one cell. ``function`` and ``module`` are PyTorch's names, ``work`` its arithmetic for one cell."""

    function: ClassVar[str] = ""
    module: ClassVar[str] = ""
    work: ClassVar[int] = 1

    def ops(self, x: Shape) -> int:
        return self.work * x.numel

    def arguments(self) -> dict[str, Arg]:
        """What both the function and the module take."""
        return {}

    def torch(self, x: Shape) -> Form:
        arguments = self.arguments()
        return Form(module=call(self.module, **arguments), call=call(self.function, **arguments))


class Relu(_Activation, keyword="relu", role="activation"):
    """Rectifier: ``max(x, 0)``. The shape stays. Source: Nair & Hinton 2010; Krizhevsky, Sutskever & Hinton 2012, section 3.1."""

    function = "F.relu"
    module = "nn.ReLU"


class Relu6(_Activation, keyword="relu6", role="activation"):
    """Rectifier that stops at 6: ``min(max(x, 0), 6)``. The shape stays. Source: Krizhevsky 2010; Sandler et al. 2018, "MobileNetV2"."""

    function = "F.relu6"
    module = "nn.ReLU6"
    work = 2


class LeakyRelu(_Activation, keyword="leaky_relu", role="activation"):
    """Rectifier with a small slope below zero: ``x`` where positive, ``slope * x`` elsewhere. The shape stays.

    Source: Maas, Hannun & Ng 2013, section 2.
    """

    work = 2

    slope: Real = 0.01

    def torch(self, x: Shape) -> Form:
        given = () if self.slope == 0.01 else (number(self.slope, "slope"),)
        return Form(module=call("nn.LeakyReLU", *given), call=call("F.leaky_relu", *given))


class PRelu(_Activation, keyword="prelu", role="activation"):
    """Rectifier with a trained slope below zero, one in all or, with ``per_channel=true``, one a channel. The shape stays.

    ``init`` is where the slope starts. Parameters: 1, or ``C``. Source: He et al. 2015, "Delving deep into rectifiers", equation 1.
    """

    work = 2

    per_channel: Flag = False
    init: Real = 0.25

    def params(self, x: Shape) -> int:
        return x.channels if self.per_channel else 1

    def torch(self, x: Shape) -> Form:
        given = (Arg(x.channels, IN_CHANNELS),) if self.per_channel else ()
        init = {} if self.init == 0.25 else {"init": number(self.init, "init")}
        return Form(module=call("nn.PReLU", *given, **init))


class Elu(_Activation, keyword="elu", role="activation"):
    """Exponential linear unit: ``x`` where positive, ``alpha * (exp(x) - 1)`` elsewhere. The shape stays.

    Source: Clevert, Unterthiner & Hochreiter 2016, "Fast and accurate deep network learning by exponential linear units".
    """

    function = "F.elu"
    module = "nn.ELU"
    work = 3

    alpha: Real = 1.0

    def arguments(self) -> dict[str, Arg]:
        return {} if self.alpha == 1 else {"alpha": number(self.alpha, "alpha")}


class Selu(_Activation, keyword="selu", role="activation"):
    """Self-normalising ELU with the paper's two constants. The shape stays. Source: Klambauer et al. 2017, equation 2."""

    function = "F.selu"
    module = "nn.SELU"
    work = 4


class Gelu(_Activation, keyword="gelu", role="activation"):
    """``x`` times the normal distribution's cumulative function at ``x``; ``approximate=true`` is the paper's tanh formula.

    The shape stays. Source: Hendrycks & Gimpel 2016, section 2.
    """

    function = "F.gelu"
    module = "nn.GELU"
    work = 2

    approximate: Flag = False

    def arguments(self) -> dict[str, Arg]:
        return {"approximate": Arg("tanh")} if self.approximate else {}


class Silu(_Activation, keyword="silu", role="activation"):
    """``x * sigmoid(x)``, also called swish. The shape stays. Source: Ramachandran, Zoph & Le 2017, section 4."""

    function = "F.silu"
    module = "nn.SiLU"
    work = 2


class Mish(_Activation, keyword="mish", role="activation"):
    """``x * tanh(softplus(x))``. The shape stays. Source: Misra 2019."""

    function = "F.mish"
    module = "nn.Mish"
    work = 3


class Sigmoid(_Activation, keyword="sigmoid", role="activation"):
    """``1 / (1 + exp(-x))``, between 0 and 1. The shape stays. Source: Rumelhart, Hinton & Williams 1986, equation 2."""

    function = "torch.sigmoid"
    module = "nn.Sigmoid"


class Softsign(_Activation, keyword="softsign", role="activation"):
    """``x / (1 + |x|)``: like tanh, with slower tails. The shape stays. Source: Glorot & Bengio 2010, section 3."""

    function = "F.softsign"
    module = "nn.Softsign"
    work = 3


class HardSigmoid(_Activation, keyword="hardsigmoid", role="activation"):
    """A sigmoid of straight lines: ``min(max(x + 3, 0), 6) / 6``. The shape stays. Source: Howard et al. 2019, section 5.2."""

    function = "F.hardsigmoid"
    module = "nn.Hardsigmoid"
    work = 4


class HardSwish(_Activation, keyword="hardswish", role="activation"):
    """``x * hardsigmoid(x)``. The shape stays. Source: Howard et al. 2019, "Searching for MobileNetV3", section 5.2."""

    function = "F.hardswish"
    module = "nn.Hardswish"
    work = 5


class Tanh(_Activation, keyword="tanh", role="activation"):
    """Hyperbolic tangent, between -1 and 1. The shape stays. Source: LeCun et al. 1998, "Efficient BackProp", section 4.4."""

    function = "torch.tanh"
    module = "nn.Tanh"


class ScaledTanh(_Activation, keyword="scaled_tanh", role="activation"):
    """LeNet-5's squashing function: ``amplitude * tanh(slope * x)`` with 1.7159 and 2/3. The shape stays.

    Source: LeCun et al. 1998, equation 6 and appendix A.
    """

    work = 3

    amplitude: Real = 1.7159
    slope: Real = 2 / 3

    def torch(self, x: Shape) -> Form:
        slope = Arg(Raw("2 / 3"), "slope") if self.slope == 2 / 3 else number(self.slope, "slope")
        text = "{amplitude} * torch.tanh({slope} * {0})"
        return Form(call=template(text, infix=True, amplitude=number(self.amplitude, "amplitude"), slope=slope))


class Softplus(_Activation, keyword="softplus", role="activation"):
    """A smooth rectifier: ``log(1 + exp(beta * x)) / beta``. The shape stays. Source: Dugas et al. 2001."""

    function = "F.softplus"
    module = "nn.Softplus"
    work = 3

    beta: Annotated[Real, Field(gt=0)] = 1.0

    def arguments(self) -> dict[str, Arg]:
        return {} if self.beta == 1 else {"beta": number(self.beta, "beta")}


class Softmax(_Activation, keyword="softmax", role="activation"):
    """Positive numbers that sum to 1: ``exp(x)`` over its sum across the channels, at each position. The shape stays.

    Source: Bridle 1990; Krizhevsky, Sutskever & Hinton 2012, section 3.5.
    """

    function = "F.softmax"
    module = "nn.Softmax"
    work = 3

    def arguments(self) -> dict[str, Arg]:
        return {"dim": Arg(1)}


class LogSoftmax(_Activation, keyword="log_softmax", role="activation"):
    """The logarithm of softmax across the channels, at each position. The shape stays. Source: Bridle 1990."""

    function = "F.log_softmax"
    module = "nn.LogSoftmax"
    work = 3

    def arguments(self) -> dict[str, Arg]:
        return {"dim": Arg(1)}
