"""Conditions on variants: expressions of the language over facts of the network and its parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from cnnc.check import Checked
from cnnc.diagnostics.model import Diagnostic, Label
from cnnc.elaborate.evaluate import Evaluator
from cnnc.elaborate.files import Unit
from cnnc.elaborate.values import Poisoned, Refusal, builtin, did_you_mean, refuse
from cnnc.source import Source, Span
from cnnc.sweep.space import moved
from cnnc.syntax import ast
from cnnc.syntax.parser import parse

#: The facts of a network, in the order of a table.
FACTS = ("params", "macs", "depth", "layers", "memory", "receptive_field", "buffers", "ops")

#: What stands before a name to say which of two is meant.
PREFIXES = ("fact", "parameter")

_BEFORE = "let value = "


def facts(checked: Checked) -> dict[str, int | None]:
    """The facts of a network; None for a receptive field where there is no map."""
    sums = checked.totals
    found: dict[str, int | None] = {name: getattr(sums, name) for name in ("params", "macs", "layers", "buffers", "ops")}
    found |= {name: getattr(checked, name) for name in ("depth", "memory", "receptive_field")}
    return {name: found[name] for name in FACTS}


class Condition:
    """A condition such as ``params < 5M and macs < 600M``. Raises Refusal, with its places in the text, for what is none."""

    def __init__(self, text: str, unit: Unit) -> None:
        self.shown = Source("--where", text)
        self.unit = unit
        parsed = parse(Source("--where", _BEFORE + text))
        if parsed.problems:
            raise Refusal(self._moved(parsed.problems[0]))
        match parsed.file.items:
            case [ast.Let(value=value)]:
                self.expr = value
            case _:
                refuse("E101", "this is not one condition", Span(self.shown, 0, len(text)))

    def _moved(self, problem: Diagnostic) -> Diagnostic:
        return moved(problem, self.shown, len(_BEFORE))

    def check(self, parameters: frozenset[str]) -> None:
        """Refuse a name that means nothing in any of the networks, whose ``parameters`` these are, or two things at once."""
        for name in _names(self.expr):
            if name.id in FACTS and name.id in parameters:
                raise Refusal(self._moved(_ambiguous(name.id, name.span)))
            known = name.id in FACTS or name.id in parameters or name.id in PREFIXES
            if not known and self.unit.frame.find(name.id) is None and builtin(name.id) is None:
                raise Refusal(self._moved(_unknown(name.id, name.span, parameters)))

    def holds(self, found: Mapping[str, int | None], parameters: Mapping[str, Any]) -> bool:
        """Whether a network with these facts and parameters is wanted. Raises Refusal where that has no answer."""
        try:
            return _Facts(self.unit, found, parameters).truth(self.expr)
        except Refusal as refusal:
            raise Refusal(self._moved(refusal.diagnostic)) from None
        except (Poisoned, RecursionError):
            at = Label(Span(self.shown, 0, len(self.shown.text)))
            raise Refusal(Diagnostic("E401", "this condition cannot be worked out", at)) from None


def _names(expr: Any) -> Iterator[ast.Name]:
    """The names that an expression reads. A name behind ``fact.`` or ``parameter.`` is none: it may be missing in some networks."""
    pending = [expr]
    while pending:
        item = pending.pop()
        if isinstance(item, ast.Name):
            yield item
        elif isinstance(item, tuple | list):
            pending += item
        elif not isinstance(item, Span):
            pending += [getattr(item, name) for name in getattr(type(item), "__slots__", ())]


def _unknown(name: str, span: Span, parameters: Collection[str]) -> Diagnostic:
    known = f"the facts are {', '.join(FACTS)}" + (f"; the parameters {', '.join(sorted(parameters))}" if parameters else "")
    help = did_you_mean(name, [*FACTS, *parameters], known)
    return Diagnostic("E204", f"`{name}` is no fact and no parameter", Label(span, "not known here"), help=help)


def _ambiguous(name: str, span: Span) -> Diagnostic:
    at = Label(span, "which of the two?")
    return Diagnostic("E401", f"`{name}` is a fact and a parameter", at, help=f"write `fact.{name}` or `parameter.{name}`")


class _Facts(Evaluator):
    """Expressions in which the names of facts and of the network's parameters have a meaning."""

    def __init__(self, unit: Unit, found: Mapping[str, int | None], parameters: Mapping[str, Any]) -> None:
        super().__init__(self._find)
        self.unit, self.found, self.parameters = unit, found, parameters

    def _find(self, name: str, span: Span) -> Any:
        if name in FACTS and name in self.parameters:
            raise Refusal(_ambiguous(name, span))
        if name in FACTS:
            return self._fact(name, span)
        if name in self.parameters:
            return self.parameters[name]
        binding = self.unit.frame.find(name)
        if binding is not None:
            return binding.read()
        found = builtin(name)
        if found is None:
            raise Refusal(_unknown(name, span, self.parameters))
        return found

    def _fact(self, name: str, span: Span) -> int:
        value = self.found[name]
        if value is None:
            refuse("E401", "this network has no map, so it has no receptive field", span)
        return value

    def _attribute(self, expr: ast.Attribute) -> Any:
        base = expr.base
        if not isinstance(base, ast.Name) or base.id not in PREFIXES or base.id in self.parameters:
            return super()._attribute(expr)
        known = FACTS if base.id == "fact" else tuple(self.parameters)
        if expr.name not in known:
            help = did_you_mean(expr.name, known, f"there is {', '.join(known) or 'none'}")
            refuse("E204", f"there is no {base.id} `{expr.name}`", expr.span, help=help)
        return self._fact(expr.name, expr.span) if base.id == "fact" else self.parameters[expr.name]


__all__ = ["FACTS", "Condition", "facts"]
