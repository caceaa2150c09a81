"""What a layer is in PyTorch, as a value: constructors and calls described, nothing imported or run.

The backend turns a :class:`Form` into text. It may print a spec's own expression in the place of an argument, because every
:class:`Arg` says which field, or which fact of the input, it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cnnc.record import record

#: ``Arg.field`` of numbers that the input decides and the spec does not write.
IN_CHANNELS = "in.channels"
IN_SIZE = "in.size"


@dataclass(frozen=True, slots=True)
class Raw:
    """Python text to print as it is (``float("-inf")``); written by a layer class, never taken from a spec."""

    text: str


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument of a call: its value, and where it comes from.

    ``field`` is a field of the layer when the value is that field's as written, ``IN_CHANNELS`` or ``IN_SIZE`` for the channels
    or the number of elements of the first input, None for a number that the layer worked out.
    """

    value: Any
    field: str | None = None


@record
class Call:
    """``name(args, key=value)``; in a forward pass the inputs go first.

    A ``name`` with a ``{0}`` in it is a template instead: ``{0}``, ``{1}`` are the inputs, ``{key}`` the keyword arguments, and
    ``{*}`` all inputs joined by commas. ``infix`` says that the text needs parentheses inside a larger expression.
    """

    name: str
    args: tuple[Arg, ...] = ()
    kwargs: tuple[tuple[str, Arg], ...] = ()
    infix: bool = False


@record
class Helper:
    """A function or class that the emitted file defines once, above the network.

    ``source`` is formatted as ``ruff format`` leaves it and passes ``mypy --strict`` after the header
    ``from __future__ import annotations``, ``import torch``, ``import torch.nn.functional as F``, ``from torch import Tensor, nn``.
    """

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class InitCall:
    """``function(module.parameter, …)``: how a parameter starts, e.g. ``nn.init.normal_(m.weight, std=0.01)``."""

    parameter: str
    function: str
    args: tuple[tuple[str, Any], ...] = ()


@record
class Form:
    """A layer in PyTorch.

    ``module`` constructs an ``nn.Module``; it is there for every layer with parameters, buffers or a behaviour that depends on the
    mode, and for any other layer that PyTorch has a module for (it then can stand in an ``nn.Sequential``).
    ``call`` is the function to call in ``forward``; None means "construct ``module`` as an attribute and call that".
    ``before`` and ``after`` are steps around it (padding that the module cannot do by itself, a final crop), each with a ``call`` and
    perhaps a ``module``.

    A collapsed size such as ``(3, 3)`` may be printed as ``3``: where PyTorch insists on a tuple, pass :class:`Raw` text.
    """

    module: Call | None = None
    call: Call | None = None
    before: Form | None = None
    after: Form | None = None
    helpers: tuple[Helper, ...] = ()
    inits: tuple[InitCall, ...] = ()


def call(name: str, *args: Arg | Any, **kwargs: Arg | Any) -> Call:
    """A call; bare values become :class:`Arg` without a field."""
    return Call(
        name,
        tuple(a if isinstance(a, Arg) else Arg(a) for a in args),
        tuple((k, a if isinstance(a, Arg) else Arg(a)) for k, a in kwargs.items()),
    )


def template(text: str, *, infix: bool = False, **kwargs: Arg | Any) -> Call:
    """A call that is no plain function: ``template("{0}[:, {start}:{stop}]", start=0, stop=64)``."""
    return Call(text, (), tuple((k, a if isinstance(a, Arg) else Arg(a)) for k, a in kwargs.items()), infix)


def write(form_call: Call, inputs: tuple[str, ...], show: Callable[[Arg], str]) -> str:
    """The text of a call on ``inputs`` (Python expressions); ``show`` prints an argument."""
    named = {key: show(arg) for key, arg in form_call.kwargs}
    if "{" in form_call.name:
        every = ", ".join(f"{{{k}}}" for k in range(len(inputs)))
        return form_call.name.replace("{*}", every).format(*inputs, **named)
    given = [*inputs, *(show(a) for a in form_call.args), *(f"{k}={v}" for k, v in named.items())]
    return f"{form_call.name}({', '.join(given)})"


def literal(value: Any) -> str:
    """A value as Python text: square sizes as one number, strings quoted, nothing of it able to run."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, tuple) and value and all(type(v) is int for v in value) and len(set(value)) == 1 and len(value) > 1:
        return repr(value[0])
    if isinstance(value, tuple):
        return "(" + ", ".join(_element(v) for v in value) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list):
        return "[" + ", ".join(_element(v) for v in value) + "]"
    return repr(value)


def _element(value: Any) -> str:
    return (
        literal(value) if not isinstance(value, tuple) else "(" + ", ".join(map(_element, value)) + ("," if len(value) == 1 else "") + ")"
    )
