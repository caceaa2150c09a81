"""Layers that drop something while training and do nothing afterwards."""

from cnnc.layers.base import Map, Probability, needs_map
from cnnc.layers.form import Form, Helper, call, template
from cnnc.layers.steps import number
from cnnc.shapes import Shape


class Dropout(Map, keyword="dropout", role="regularisation"):
    """While training, sets each number to 0 with probability ``p`` and divides the others by ``1 - p``. The shape stays.

    Source: Srivastava et al. 2014, section 4; Krizhevsky, Sutskever & Hinton 2012, section 4.2.
    """

    p: Probability = 0.5

    def torch(self, x: Shape) -> Form:
        p = number(self.p, "p")
        return Form(module=call("nn.Dropout", p), call=template("F.dropout({0}, {p}, training=self.training)", p=p))


class DropoutMaps(Map, keyword="dropout_maps", role="regularisation"):
    """While training, sets whole maps to 0 with probability ``p`` and divides the others by ``1 - p``. The shape stays.

    Source: Tompson et al. 2015, "Efficient object localization using convolutional networks", section 3.2.
    """

    p: Probability = 0.5

    def shape(self, x: Shape) -> Shape:
        needs_map(x, self.keyword)
        return x

    def torch(self, x: Shape) -> Form:
        p = number(self.p, "p")
        function = template(f"F.dropout{x.rank}d({{0}}, {{p}}, training=self.training)", p=p)
        return Form(module=call(f"nn.Dropout{x.rank}d", p), call=function)


DROP_PATH = Helper(
    "DropPath",
    '''\
class DropPath(nn.Module):
    """While training, drops whole samples of a residual branch with probability `p`."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        kept = x.new_empty(x.shape[0], *(1 for _ in x.shape[1:])).bernoulli_(1 - self.p)
        return x * kept / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"
''',
)


class DropPath(Map, keyword="drop_path", role="regularisation"):
    """While training, sets a sample's whole value to 0 with probability ``p`` and divides the others by ``1 - p``.

    Stands at the end of a residual branch, which is then skipped. The shape stays.
    Source: Huang et al. 2016, "Deep networks with stochastic depth", section 3.
    """

    p: Probability = 0.5

    def torch(self, x: Shape) -> Form:
        return Form(module=call("DropPath", number(self.p, "p")), helpers=(DROP_PATH,))
