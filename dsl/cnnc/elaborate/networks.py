"""Which network of a file is built, and with which parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnnc.diagnostics.model import Diagnostic, Label
from cnnc.elaborate.build import Builder, Built, call_arguments
from cnnc.elaborate.files import Unit
from cnnc.elaborate.values import SYMBOLS, Evaluator, OpValue, Refusal, nearest, refuse
from cnnc.graph import Graph
from cnnc.layers import KINDS
from cnnc.layers.init import INITS
from cnnc.shapes import Shape
from cnnc.source import Source, Span
from cnnc.syntax import ast
from cnnc.syntax.parser import parse

#: How many variants may stand on each other.
MAX_VARIANTS = 16


def network_names(unit: Unit) -> list[str]:
    """The networks that a file defines, in order."""
    return list(unit.own)


def _in_unit(unit: Unit) -> Evaluator:
    """Expressions among the names of a file."""

    def lookup(name: str, span: Span) -> Any:
        binding = unit.frame.find(name)
        if binding is not None:
            binding.used = True
            return binding.value
        if name in SYMBOLS or name in INITS:
            return name
        if name in KINDS:
            return OpValue(KINDS[name])
        guess = nearest(name, [*unit.frame.visible(), *SYMBOLS])
        refuse("E204", f"`{name}` is not defined", span, "not known here", help=f"did you mean `{guess}`?" if guess else None)

    return Evaluator(lookup)


def parse_value(text: str, name: str, unit: Unit) -> Any:
    """The value of a text such as ``10``, ``[3, 4, 6, 3]`` or ``Bottleneck`` that came from outside the file. Refuses what is none."""
    source = Source(f"-p {name}", f"let value = {text}")
    parsed = parse(source)
    if parsed.problems:
        raise Refusal(parsed.problems[0])
    items = parsed.file.items
    if len(items) != 1 or not isinstance(items[0], ast.Let):
        refuse("E101", f"`{text}` is not one value", Span(source, 0, len(source.text)))
    return _in_unit(unit)(items[0].value)


def build_network(
    unit: Unit,
    name: str | None,
    parameters: Mapping[str, Any],
    inputs: Mapping[str | None, Shape],
    broken: bool,
) -> Built | tuple[Diagnostic, ...]:
    """The graph of the network ``name`` (None: the file's last). ``broken`` says that problems were found already."""
    source = unit.file.source
    nowhere = Label(Span(source, 0, 0))
    if name is None:
        if not unit.own:
            if broken:
                return ()
            return (Diagnostic("E510", "this file defines no network", nowhere, help="write `network Name { input image: 3x224x224 … }`"),)
        name = unit.own[-1]
    if name not in unit.networks:
        if broken:
            return ()
        guess = nearest(name, unit.networks)
        known = ", ".join(unit.own) or "none"
        help = f"did you mean `{guess}`?" if guess else f"the networks of this file: {known}"
        return (Diagnostic("E511", f"there is no network `{name}` in {source.name}", nowhere, help=help),)
    try:
        definition, home, values = _bound(unit, name, parameters)
    except Refusal as refusal:
        return (refusal.diagnostic,)
    chosen = name

    def vary(other: Mapping[str, Any]) -> Graph | None:
        """The graph with other parameters; None when they do not fit."""
        built = Builder(home, inputs).build(definition, {**values, **other}, home, chosen)
        broken = bool(built.problems) or any(n.shapes is None for n in built.graph.nodes)
        return None if broken else built.graph

    return Builder(home, inputs).build(definition, values, home, name, vary)


def _bound(unit: Unit, name: str, given: Mapping[str, Any]) -> tuple[ast.Network, Unit, dict[str, Any]]:
    """The network behind a name, where it is defined, and a value for each of its parameters."""
    layers: list[tuple[tuple[ast.Arg, ...], Unit, ast.Variant]] = []
    item, home = unit.networks[name]
    while isinstance(item, ast.Variant):
        if len(layers) >= MAX_VARIANTS:
            refuse("E508", f"the network `{name}` is a variant of itself, or of too many others", item.span)
        layers.append((item.args, home, item))
        base = home.networks.get(item.base)
        if base is None:
            guess = nearest(item.base, home.networks)
            refuse(
                "E511", f"there is no network `{item.base}`", item.base_span, "unknown", help=f"did you mean `{guess}`?" if guess else None
            )
        item, home = base
    params = item.params
    values: dict[str, Any] = {}
    for args, where, variant in reversed(layers):
        optional = tuple(ast.Param(p.name, p.default or _ANY, p.span) for p in params) if values or variant is not layers[0][2] else params
        bound = call_arguments(f"the network `{item.name}`", optional, args, variant.span)
        evaluate = _in_unit(where)
        for key, arg in bound.items():
            values[key] = evaluate(arg.value)
    for key, value in given.items():
        names = [p.name for p in params]
        if key not in names:
            guess = nearest(key, names)
            help = f"did you mean `{guess}`?" if guess else f"it has {', '.join(names)}" if names else "it has none"
            refuse("E208", f"the network `{name}` has no parameter `{key}`", item.name_span, help=help)
        values[key] = parse_value(value, key, unit) if type(value) is not str and isinstance(value, str) else value
    _defaults(item, home, values)
    return item, home, values


_ANY = ast.Boolean(False, Span(Source("", ""), 0, 0))


def _defaults(item: ast.Network, home: Unit, values: dict[str, Any]) -> None:
    """Fill in the defaults, which may use the parameters before them; refuse a parameter that has no value."""
    outer = _in_unit(home)

    def lookup(name: str, span: Span) -> Any:
        return values[name] if name in values else outer.lookup(name, span)

    evaluate = Evaluator(lookup)
    for param in item.params:
        if param.name in values:
            continue
        if param.default is None:
            refuse(
                "E512",
                f"the network `{item.name}` needs a value for `{param.name}`",
                param.span,
                "no default",
                help=f"give it with `-p {param.name}=…`, or write a variant: `network Mine = {item.name}({param.name}=…)`",
            )
        values[param.name] = evaluate(param.default)
