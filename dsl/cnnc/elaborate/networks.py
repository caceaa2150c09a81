"""Which network of a file is built, and with which parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Never

from cnnc.diagnostics.model import Diagnostic, Label
from cnnc.elaborate.arguments import call_arguments
from cnnc.elaborate.build import Built, build
from cnnc.elaborate.evaluate import among
from cnnc.elaborate.files import Unit
from cnnc.elaborate.values import Binding, Frame, Poisoned, Refusal, did_you_mean, refuse, too_deep
from cnnc.graph import Graph
from cnnc.shapes import Shape
from cnnc.source import Source, Span
from cnnc.syntax import ast
from cnnc.syntax.parser import parse

#: How many variants may stand on each other.
MAX_VARIANTS = 16


def network_names(unit: Unit) -> list[str]:
    """The networks that a file defines, in order."""
    return list(unit.own)


def build_network(
    unit: Unit,
    name: str | None,
    parameters: Mapping[str, Any],
    texts: Mapping[str, str],
    inputs: Mapping[str | None, Shape],
    broken: bool,
) -> Built | tuple[Diagnostic, ...]:
    """The graph of the network ``name`` (None: the file's last).

    Its parameters are set by ``parameters``, which are values, and by ``texts``, which are of the language. ``broken`` says that
    problems were found already.
    """
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
        help = did_you_mean(name, unit.networks, f"the networks of this file: {', '.join(unit.own) or 'none'}")
        return (Diagnostic("E511", f"there is no network `{name}` in {source.name}", nowhere, help=help),)
    try:
        definition, home, values = _bound(unit, name, parameters, texts)
    except Refusal as refusal:
        return (refusal.diagnostic,)
    except Poisoned:
        return ()
    except RecursionError:
        return (too_deep(unit.networks[name][0].name_span),)
    chosen = name

    def vary(other: Mapping[str, Any]) -> Graph | None:
        """The graph with other parameters; None when they do not fit."""
        built = build(definition, {**values, **other}, home, chosen, inputs)
        broken = bool(built.problems) or any(n.shapes is None for n in built.graph.nodes)
        return None if broken else built.graph

    return build(definition, values, home, name, inputs, vary)


def _bound(unit: Unit, name: str, parameters: Mapping[str, Any], texts: Mapping[str, str]) -> tuple[ast.Network, Unit, dict[str, Any]]:
    """The network behind a name, where it is defined, and a value for each of its parameters."""
    variants, item, home = _origin(unit, name)
    params = item.params
    values: dict[str, Any] = {}
    for variant, where in reversed(variants):
        # A variant of a variant changes only what it names.
        known = tuple(ast.Param(p.name, p.default or ast.Broken((), p.span), p.span) for p in params) if values else params
        bound = call_arguments(f"the network `{item.name}`", known, variant.args, variant.span)
        evaluate = among(where.frame)
        for key, arg in bound.items():
            values[key] = evaluate(arg.value)
    names = [p.name for p in params]
    for key in (*parameters, *texts):
        if key not in names:
            help = did_you_mean(key, names, f"it has {', '.join(names)}" if names else "it has none")
            refuse("E208", f"the network `{name}` has no parameter `{key}`", item.name_span, help=help)
    for key, value in parameters.items():
        values[key] = _from_python(value, key, item)
    for key, text in texts.items():
        values[key] = _value_of(text, key, unit)
    _defaults(item, home, values)
    return item, home, values


def _from_python(value: Any, name: str, item: ast.Network) -> Any:
    """A parameter's value as the language has it."""
    if isinstance(value, Shape | bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_from_python(v, name, item) for v in value]
    refuse("E209", f"the parameter `{name}` cannot be a {type(value).__name__}: numbers, strings and lists can be given", item.name_span)


def _origin(unit: Unit, name: str) -> tuple[list[tuple[ast.Variant, Unit]], ast.Network, Unit]:
    """The network that a name stands for, and the variants on the way to it, nearest first."""
    variants: list[tuple[ast.Variant, Unit]] = []
    item, home = unit.networks[name]
    while isinstance(item, ast.Variant):
        if any(item is v for v, _ in variants):
            chain = " -> ".join(f"`{v.name}`" for v, _ in [*variants, (item, home)])
            refuse("E508", f"the network `{name}` is a variant of itself: {chain}", item.base_span, "the circle closes here")
        if len(variants) >= MAX_VARIANTS:
            refuse("E603", f"more than {MAX_VARIANTS} variants stand on each other", item.base_span)
        variants.append((item, home))
        base = home.networks.get(item.base)
        if base is None:
            _unknown_base(item, home)
        item, home = base
    return variants, item, home


def _unknown_base(item: ast.Variant, home: Unit) -> Never:
    binding = home.frame.find(item.base)
    if binding is not None:
        binding.read()
        refuse("E511", f"`{item.base}` is the name of a {binding.kind}, not of a network", item.base_span, "no network")
    refuse("E511", f"there is no network `{item.base}`", item.base_span, "unknown", help=did_you_mean(item.base, home.networks))


def _defaults(item: ast.Network, home: Unit, values: dict[str, Any]) -> None:
    """Fill in the defaults, which may use the parameters before them; refuse a parameter that has no value."""
    frame = Frame(home.frame)
    evaluate = among(frame)
    for param in item.params:
        if param.name not in values:
            if param.default is None:
                refuse(
                    "E512",
                    f"the network `{item.name}` needs a value for `{param.name}`",
                    param.span,
                    "no default",
                    help=f"give it with `-p {param.name}=…`, or write a variant: `network Mine = {item.name}({param.name}=…)`",
                )
            values[param.name] = evaluate(param.default)
        frame.names[param.name] = Binding(values[param.name], param.span, "parameter")


# ----------------------------------------------------------------------------------------------------- values from the outside

_BEFORE = "let value = "


def _value_of(text: str, name: str, unit: Unit) -> Any:
    """The value of a text such as ``10``, ``[3, 4, 6, 3]`` or ``Bottleneck`` that came from outside the file. Refuses what is none."""
    shown = Source(f"-p {name}", text)
    source = Source(shown.name, _BEFORE + text)
    parsed = parse(source)
    if parsed.problems:
        raise Refusal(_moved(parsed.problems[0], source, shown))
    items = parsed.file.items
    if len(items) != 1 or not isinstance(items[0], ast.Let):
        refuse("E101", "this is not one value", Span(shown, 0, len(text)))
    try:
        return among(unit.frame)(items[0].value)
    except Refusal as refusal:
        raise Refusal(_moved(refusal.diagnostic, source, shown)) from None


def _moved(problem: Diagnostic, source: Source, shown: Source) -> Diagnostic:
    """A problem with its places in the text as the user gave it."""

    def move(label: Label) -> Label:
        span = label.span
        if span.source is not source:
            return label
        return Label(Span(shown, max(span.start - len(_BEFORE), 0), max(span.end - len(_BEFORE), 0)), label.text)

    headline = "the value ends too early" if problem.code == "E102" else problem.headline
    return replace(problem, headline=headline, at=move(problem.at), also=tuple(map(move, problem.also)), fixes=())
