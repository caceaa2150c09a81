"""What a sweep goes through: networks, inputs and parameters with the values of each, and every combination of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from typing import Any, Literal

from cnnc.diagnostics.model import Diagnostic, Label
from cnnc.elaborate.evaluate import among
from cnnc.elaborate.files import Unit
from cnnc.elaborate.values import BlockValue, OpValue, Poisoned, Refusal, did_you_mean, show
from cnnc.shapes import Shape
from cnnc.source import Source, Span
from cnnc.syntax import ast
from cnnc.syntax.parser import parse
from cnnc.syntax.pieces import split_values

#: How many combinations a sweep may have.
MAX_VARIANTS = 100_000
#: How many variants of networks may stand on each other here.
_MAX_BASES = 100


class Unusable(Exception):
    """What was asked for makes no sweep; the message says why."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a dimension: the text that was given, and the value as other programs take it."""

    text: str
    plain: Any


@dataclass(frozen=True, slots=True)
class Dimension:
    """Something that varies. ``name`` is the parameter's; for inputs the input's, empty for the first one."""

    kind: Literal["network", "input", "parameter"]
    name: str
    values: tuple[Value, ...]

    @property
    def title(self) -> str:
        """What a table calls it."""
        if self.kind == "parameter":
            return self.name
        return f"input {self.name}".rstrip() if self.kind == "input" else "network"


@dataclass(frozen=True, slots=True)
class Variant:
    """One combination: an index into the values of each dimension, and what that sets."""

    number: int
    choice: tuple[int, ...]
    network: str
    texts: Mapping[str, str]
    inputs: Mapping[str | None, Shape]


@dataclass(frozen=True, slots=True)
class Space:
    """Every combination of the values of some dimensions; the last dimension varies fastest."""

    dimensions: tuple[Dimension, ...]

    @property
    def size(self) -> int:
        """How many combinations there are."""
        return math.prod(len(d.values) for d in self.dimensions)

    def values(self, variant: Variant) -> list[Value]:
        """The value of each dimension in a variant."""
        return [d.values[k] for d, k in zip(self.dimensions, variant.choice, strict=True)]

    def __iter__(self) -> Iterator[Variant]:
        for number, choice in enumerate(product(*(range(len(d.values)) for d in self.dimensions))):
            network, texts, inputs = "", {}, {}
            for d, k in zip(self.dimensions, choice, strict=True):
                value = d.values[k]
                if d.kind == "network":
                    network = value.text
                elif d.kind == "input":
                    inputs[d.name or None] = Shape(value.plain)
                else:
                    texts[d.name] = value.text
            yield Variant(number, choice, network, texts, inputs)


def space(
    unit: Unit, networks: str | None, inputs: Sequence[tuple[str | None, Sequence[Shape]]], parameters: Sequence[tuple[str, str]]
) -> Space:
    """The combinations of some networks of a file (None: its last), some shapes of its inputs, and the values of parameters.

    Raises Unusable for what makes no sweep, and Refusal for a range that has no value.
    """
    found = [_networks(unit, networks)]
    for name, shapes in inputs:
        if any(d.kind == "input" and d.name == (name or "") for d in found):
            raise Unusable("an input is given twice; its shapes go into one list: --input 3x128x128,3x160x160")
        found.append(Dimension("input", name or "", tuple(Value(str(s), list(s)) for s in dict.fromkeys(shapes))))
    for name, text in parameters:
        if any(d.kind == "parameter" and d.name == name for d in found):
            raise Unusable(f"the parameter {name!r} is given twice; its values go into one list: -p {name}=1,2,3")
        found.append(Dimension("parameter", name, _values(unit, name, text)))
    made = Space(tuple(found))
    if made.size > MAX_VARIANTS:
        sizes = " x ".join(str(len(d.values)) for d in found)
        raise Unusable(f"{sizes} = {made.size:,} combinations: {MAX_VARIANTS:,} are the most")
    return made


def _networks(unit: Unit, text: str | None) -> Dimension:
    """The networks that are named; a name with ``*`` stands for all that fit it."""
    names: list[str] = []
    if text is None:
        names = unit.own[-1:]
    for part in split_values(text) if text is not None else ():
        fitting = [n for n in unit.own if fnmatchcase(n, part)] if any(c in part for c in "*?[") else [part]
        if not fitting or (part not in unit.networks and fitting == [part]):
            help = did_you_mean(part, unit.networks, f"there is {', '.join(unit.own) or 'none'}")
            raise Unusable(f"there is no network {part!r} in {unit.file.source.name}; {help}")
        names += fitting
    if not names:
        raise Unusable(f"{unit.file.source.name} defines no network")
    return Dimension("network", "", tuple(Value(n, n) for n in dict.fromkeys(names)))


def parameter_names(unit: Unit, network: str) -> frozenset[str]:
    """The parameters of a network of a file; those of what a variant varies. None are found where that cannot be followed."""
    item: ast.Network | ast.Variant
    for _ in range(_MAX_BASES):
        if network not in unit.networks:
            break
        item, unit = unit.networks[network]
        if isinstance(item, ast.Network):
            return frozenset(p.name for p in item.params)
        network = item.base
    return frozenset()


# ------------------------------------------------------------------------------------------------------------------------- values


def _values(unit: Unit, name: str, text: str) -> tuple[Value, ...]:
    """The values in a text such as ``0.5, 0.75``, ``[2, 2], [3, 4]`` or ``10..100 by 10``, each once."""
    found: dict[str, Value] = {}
    for part in split_values(text):
        if not part:
            raise Unusable(f"a value is missing in -p {name}={text}")
        counted = _range(unit, name, part)
        if counted == []:
            raise Unusable(f"the range {part} in -p {name}={text} is empty")
        for value in (Value(part, _plain(unit, part)),) if counted is None else counted:
            found.setdefault(value.text, value)
    return tuple(found.values())


def _range(unit: Unit, name: str, text: str) -> list[Value] | None:
    """The numbers of a range, or None for a text that is no range. The language has ranges in loops only, so one is put around it."""
    if ".." not in text:
        return None
    before = "network N { for v in "
    shown = Source(f"-p {name}={text}", text)
    parsed = parse(Source(shown.name, f"{before}{text} {{ relu }} }}"))
    match parsed.file.items:
        case [ast.Network(body=ast.Body(statements=[ast.For(iterable=ast.Range() as range_)]))] if not parsed.problems:
            if (range_.span.start, range_.span.end) != (len(before), len(before) + len(text)):
                return None
        case _:
            return None
    try:
        return [Value(str(n), n) for n in among(unit.frame)(range_)]
    except Refusal as refusal:
        raise Refusal(moved(refusal.diagnostic, shown, len(before))) from None


def moved(problem: Diagnostic, shown: Source, by: int) -> Diagnostic:
    """A problem of a text that something was put in front of, with its place in the text as it was given."""
    span = problem.at.span
    size = len(shown.text)
    at = Span(shown, min(max(span.start - by, 0), size), min(max(span.end - by, 0), size))
    return Diagnostic(problem.code, problem.headline, Label(at, problem.at.text), (), problem.notes, problem.help)


def _plain(unit: Unit, text: str) -> Any:
    """A value as JSON has it, for sorting and for other programs; the text itself where it has no value, which its variants then tell."""
    before = "let value = "
    parsed = parse(Source("", before + text))
    match parsed.file.items:
        case [ast.Let() as let] if not parsed.problems:
            try:
                return plain(among(unit.frame)(let.value))
            except (Refusal, Poisoned, RecursionError):
                return text
    return text


def plain(value: Any) -> Any:
    """A value of the language as JSON has it: blocks and ops by their names."""
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, BlockValue | OpValue) else show(value)


__all__ = ["MAX_VARIANTS", "Dimension", "Space", "Unusable", "Value", "Variant", "moved", "parameter_names", "plain", "space"]
