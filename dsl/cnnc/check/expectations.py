"""The facts that a spec states with ``expect``: worked out once the counts are known, and judged."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cnnc.diagnostics.model import Diagnostic, Edit, Fix, Label
from cnnc.elaborate.build import Built
from cnnc.elaborate.builder import Expectation, with_calls
from cnnc.elaborate.evaluate import Evaluator
from cnnc.elaborate.values import Poisoned, Refusal, ValueRef, builtin, did_you_mean, refuse, show, too_deep
from cnnc.graph import Node, Ref, Scope
from cnnc.shapes import Shape
from cnnc.source import Span
from cnnc.syntax import ast

if TYPE_CHECKING:
    from cnnc.check.checker import Checked

#: Facts that are sums over layers, and those of the network as a whole.
_SUMS = ("params", "macs", "buffers", "ops", "layers")
_WHOLE = ("depth", "memory", "receptive_field")
_FACTS = (*_SUMS, *_WHOLE)

#: Scopes that give no names of their own.
_TRANSPARENT = ("if", "loop", "turn", "merge", "branch")

_HOLDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def judge(built: Built, checked: Checked) -> list[Diagnostic]:
    """The facts that do not hold, or that cannot be stated."""
    found: list[Diagnostic] = []
    for expectation in built.expectations:
        condition = expectation.condition
        evaluate = _Facts(checked, expectation)
        try:
            problem = _compare(expectation, evaluate(condition.left), evaluate(condition.right))
        except Refusal as refusal:
            problem = refusal.diagnostic
        except Poisoned:
            continue
        except RecursionError:
            problem = too_deep(condition.span)
        if problem is not None:
            found.append(with_calls(problem, expectation.scope))
    return found


class _Facts(Evaluator):
    """Expressions in which names of facts have a meaning, for the network or for a named part of it."""

    def __init__(self, checked: Checked, expectation: Expectation) -> None:
        super().__init__(self._find)
        self.checked = checked
        self.frame = expectation.frame
        self.sides = (expectation.condition.left, expectation.condition.right)
        self.scope = _owner(expectation.scope)
        self.turns = "".join(f"[{s.index}]" for s in reversed(_until(expectation.scope, self.scope)) if s.kind == "turn")

    def _find(self, name: str, span: Span) -> Any:
        binding = self.frame.find(name)
        if binding is not None:
            if name in _FACTS and any(side.span == span for side in self.sides):
                # Inside a larger expression a name of the file's own is meant; on its own it could be either.
                what = f"`{name}` is a fact and the name of a {binding.kind} here"
                refuse("E401", what, span, "which of the two?", help=f"give the {binding.kind} another name")
            return binding.read()
        if name in _FACTS:
            return self._fact(name, span)
        found = builtin(name)
        if found is None:
            help = did_you_mean(name, [*_FACTS, *self.frame.visible()], f"the facts are {', '.join(_FACTS)}")
            refuse("E204", f"`{name}` is no fact and no name", span, "not known here", help=help)
        return found

    def _fact(self, name: str, span: Span) -> Any:
        """A fact of the network, or of the block, body or head that the ``expect`` stands in."""
        checked, scope = self.checked, self.scope
        nodes: tuple[Node, ...] | list[Node] = checked.graph.layers
        if scope.kind != "network":
            prefix = scope.path + "."
            nodes = [n for n in nodes if n.path.startswith(prefix)]
        if name in _WHOLE:
            if scope.kind != "network":
                refuse("E401", f"`{name}` is a fact of the whole network, not of a part", span, "only in the network's own body")
            if any(n.shapes is None for n in checked.graph.nodes):
                raise Poisoned
            value = getattr(checked, name)
            if value is None:
                refuse("E401", "this network has no map, so it has no receptive field", span)
            return value
        if scope.head is None:
            nodes = [n for n in nodes if not checked.facts[n.id].aux]
        return self._sum(name, nodes)

    def _sum(self, name: str, nodes: list[Node] | tuple[Node, ...]) -> int:
        if any(n.shapes is None for n in nodes):
            raise Poisoned
        if name == "layers":
            return len(nodes)
        return sum(getattr(self.checked.facts[n.id], name) for n in nodes)

    def _attribute(self, expr: ast.Attribute) -> Any:
        if expr.name not in (*_SUMS, "memory", "receptive_field"):
            return super()._attribute(expr)
        value = self(expr.base)
        if not isinstance(value, ValueRef) or value.ref is None:
            refuse("E206", f"`.{expr.name}` needs a named part of the network, but this is {show(value)}", expr.span)
        if expr.name == "receptive_field":
            return self._field_of(value.ref, expr.span)
        if expr.name == "memory":
            refuse("E401", "`memory` is a fact of the whole network, not of a part", expr.span, "only `expect memory < …`")
        return self._sum(expr.name, self._part(value.ref, value.name))

    def _part(self, ref: Ref, name: str) -> list[Node]:
        """The layers that a name stands for: all below it, or the one that makes the value."""
        graph = self.checked.graph
        scope: Scope | None = self.scope
        while scope is not None:
            base = f"{scope.path}.{name}" if scope.path else name
            for path in (base + self.turns, base):
                found = [n for n in graph.layers if n.path == path or n.path.startswith(path + ".")]
                if found:
                    return found
            scope = None if scope.parent is None else _owner(scope.parent)
        return [graph.nodes[ref.node]]

    def _field_of(self, ref: Ref, span: Span) -> int:
        if self.checked.graph.nodes[ref.node].shapes is None:
            raise Poisoned
        field = self.checked.facts[ref.node].field
        if not isinstance(field, tuple) or not field:
            refuse("E401", "this value sees the whole input, or is no map: it has no receptive field", span)
        return max(e.size for e in field)


def _owner(scope: Scope) -> Scope:
    """The nearest scope around that names its layers."""
    while scope.kind in _TRANSPARENT and scope.parent is not None:
        scope = scope.parent
    return scope


def _until(scope: Scope, end: Scope) -> list[Scope]:
    chain = scope.chain()
    return chain[: chain.index(end)]


def _shown(value: Any) -> str:
    return f"{value:_}" if isinstance(value, int) and not isinstance(value, bool) else show(value)


def _compare(expectation: Expectation, left: Any, right: Any) -> Diagnostic | None:
    condition = expectation.condition
    if isinstance(left, Shape) or isinstance(right, Shape):
        left, right = (Shape((v,)) if isinstance(v, int) and not isinstance(v, bool) else v for v in (left, right))
        if condition.op not in ("==", "!=") or not (isinstance(left, Shape) and isinstance(right, Shape)):
            refuse("E401", f"{show(left)} and {show(right)} cannot be compared with `{condition.op}`", condition.span)
    elif any(isinstance(v, bool) or not isinstance(v, int | float) for v in (left, right)):
        odd = condition.right if isinstance(left, int | float) and not isinstance(left, bool) else condition.left
        what = show(left if odd is condition.left else right)
        refuse("E401", f"`expect` compares facts and numbers, but this is {what}", odd.span, "neither a fact nor a number")
    if _HOLDS[condition.op](left, right):
        return None
    return _broken(expectation, left, right)


def _broken(expectation: Expectation, left: Any, right: Any) -> Diagnostic:
    """The problem of a fact that does not hold."""
    condition = expectation.condition
    sides = [(e, v) for e, v in ((condition.left, left), (condition.right, right)) if not isinstance(e, ast.Number | ast.SizeLiteral)]
    found = " and ".join(f"`{e.span.text}` is {_shown(v)}" for e, v in sides) or f"`{condition.span.text}` is false"
    fixes: tuple[Fix, ...] = ()
    if condition.op == "==" and len(sides) == 1:
        value = sides[0][1]
        other, stated = (condition.right, right) if sides[0][0] is condition.left else (condition.left, left)
        if isinstance(value, Shape):
            headline = f"{found}, not {_shown(stated)}"
        else:
            headline = f"{found}, {_shown(abs(value - stated))} {'more' if value > stated else 'fewer'} than {_shown(stated)}"
        fixes = (Fix("state what was found", (Edit(other.span, _shown(value)),)),)
    else:
        headline = f"{found}, so `{condition.span.text}` does not hold"
    return Diagnostic("E403", headline, Label(expectation.span, "does not hold"), help="correct the layers, or the fact", fixes=fixes)
