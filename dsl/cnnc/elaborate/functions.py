"""The functions that expressions may call. They take values and give one; what they cannot take raises TypeError or ValueError."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any


def round_to_divisor(value: float, divisor: int) -> int:
    """The multiple of ``divisor`` nearest to ``value``, at least ``divisor`` and never more than 10 % below ``value``.

    The rule of the MobileNet code (Howard et al. 2017; Sandler et al. 2018): ``max(d, int(v + d/2) // d * d)``.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return value


def _one(values: list[Any]) -> Any:
    (value,) = values
    return _number(value)


def _numbers(values: list[Any]) -> list[Any]:
    flat = values[0] if len(values) == 1 and isinstance(values[0], list | tuple) else values
    return [_number(v) for v in flat]


def _some(values: list[Any]) -> list[Any]:
    numbers = _numbers(values)
    if not numbers:
        raise ValueError
    return numbers


def _round(values: list[Any]) -> Any:
    if len(values) != 2:
        return round(_one(values))
    if type(values[1]) is not int:
        raise TypeError
    return round(_number(values[0]), values[1])


def _length(values: list[Any]) -> int:
    (value,) = values
    if not isinstance(value, list | tuple | str):
        raise TypeError
    return len(value)


def _divisible(values: list[Any]) -> int:
    value, divisor = values if len(values) == 2 else (_one(values), 8)
    if type(divisor) is not int or divisor < 1:
        raise ValueError
    return round_to_divisor(_number(value), divisor)


#: The functions of the language but ``range``: name -> values -> value.
FUNCTIONS: Mapping[str, Callable[[list[Any]], Any]] = {
    "min": lambda v: min(_some(v)),
    "max": lambda v: max(_some(v)),
    "sum": lambda v: sum(_numbers(v)),
    "abs": lambda v: abs(_one(v)),
    "round": _round,
    "floor": lambda v: math.floor(_one(v)),
    "ceil": lambda v: math.ceil(_one(v)),
    "len": _length,
    "divisible": _divisible,
}

#: How each function is called, for messages.
USAGE: Mapping[str, str] = {
    "min": "min(a, b, …) or min(list), of numbers",
    "max": "max(a, b, …) or max(list), of numbers",
    "sum": "sum(list), of numbers",
    "abs": "abs(number)",
    "round": "round(number), or round(number, digits)",
    "floor": "floor(number)",
    "ceil": "ceil(number)",
    "len": "len(list)",
    "range": "range(end), range(start, end) or range(start, end, step), all whole numbers",
    "divisible": "divisible(value, divisor): the multiple of the divisor nearest to the value",
}
