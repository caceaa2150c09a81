"""How parameters start: the values that ``init=`` and ``bias_init=`` take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator

from cnnc.layers.form import InitCall


@dataclass(frozen=True, slots=True)
class Init:
    """An initialiser with its arguments: ``normal(std=0.01)``."""

    name: str
    args: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in self.args)})"

    def on(self, parameter: str) -> InitCall:
        """The ``torch.nn.init`` call that fills ``parameter``."""
        function, names = INITS[self.name]
        given = dict(self.args)
        return InitCall(parameter, f"nn.init.{function}", tuple((n, given[n]) for n in names if n in given))


#: name in the language -> (function of torch.nn.init, its arguments in order). ``glorot`` and ``he`` are Xavier and Kaiming (Glorot &
#: Bengio 2010; He et al. 2015).
INITS: dict[str, tuple[str, tuple[str, ...]]] = {
    "zeros": ("zeros_", ()),
    "ones": ("ones_", ()),
    "constant": ("constant_", ("val",)),
    "uniform": ("uniform_", ("a", "b")),
    "normal": ("normal_", ("mean", "std")),
    "trunc_normal": ("trunc_normal_", ("mean", "std", "a", "b")),
    "glorot_uniform": ("xavier_uniform_", ("gain",)),
    "glorot_normal": ("xavier_normal_", ("gain",)),
    "xavier_uniform": ("xavier_uniform_", ("gain",)),
    "xavier_normal": ("xavier_normal_", ("gain",)),
    "he_uniform": ("kaiming_uniform_", ("a", "mode", "nonlinearity")),
    "he_normal": ("kaiming_normal_", ("a", "mode", "nonlinearity")),
    "kaiming_uniform": ("kaiming_uniform_", ("a", "mode", "nonlinearity")),
    "kaiming_normal": ("kaiming_normal_", ("a", "mode", "nonlinearity")),
    "orthogonal": ("orthogonal_", ("gain",)),
    "dirac": ("dirac_", ()),
}


def _initial(value: Any) -> Any:
    if value is None or isinstance(value, Init):
        return value
    if isinstance(value, str) and value in INITS:
        return Init(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Init("constant", (("val", float(value)),))
    raise ValueError("an initialiser is a number, or one of " + ", ".join(INITS) + ", such as normal(std=0.01)")


#: A number, or an initialiser such as ``normal(std=0.01)``; None leaves PyTorch's own.
Initial = Annotated[Init | None, BeforeValidator(_initial)]
