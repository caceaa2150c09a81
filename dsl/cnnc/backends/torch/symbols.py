"""Numbers of the spec over the names of one class: the constructor's arguments, its constants, and expressions of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from cnnc.backends.torch import expressions as ex
from cnnc.backends.torch.names import attribute
from cnnc.backends.torch.state import State
from cnnc.backends.torch.values import Context, Inexpressible, Mismatch, Parameter, equal, find, plain, translate
from cnnc.elaborate.values import LetValue
from cnnc.graph import Scope
from cnnc.syntax import ast


class Symbols(State):
    """Says numbers in the words of a class."""

    def resolve(self, name: str, scopes: list[Scope], context: Context) -> ast.Expr | None:
        """A name of the spec over the names of this class."""
        if name == "in.channels":
            return self.inlet_channels(scopes, context)
        found = [find(name, s, self.boundaries[o]) for s, o in zip(scopes, context.owners, strict=True)]
        where, inside, value = found[0]
        if isinstance(value, LetValue):
            homes = [f[0] for f in found]
            if any(h is None for h in homes) or any(not isinstance(f[2], LetValue) for f in found):
                return None
            inlined = translate(value.expr, [h for h in homes if h is not None], context, self.resolve)
            if inlined is not None:
                return self._let(name, inlined, [f[2].value for f in found], context)
            return self._constant([f[2].value for f in found])
        values = [f[2] for f in found]
        if not all(plain(v) for v in values):
            return None
        if where is None:
            return self._constant(values)
        if where in self.boundaries:
            return self.parameter(name)
        if not inside:
            return self._capture_number(name, values, context)
        rolled = context.loops.get(id(where.origin))
        if rolled is not None and name in rolled:
            return ex.name(rolled[name])
        return self._constant(values)

    def _let(self, spec: str, expr: ast.Expr, values: list[Any], context: Context) -> ast.Expr:
        """A constant of the spec: a variable at the top of the constructor, if only its arguments decide it."""
        names = ex.names_in(expr)
        if isinstance(expr, ast.Name) or not names or names & set(context.variables):
            return expr
        python = self.python_name(spec, f"let {spec}")
        known = self.lets.get(python)
        if known is None:
            kept = self._per_instance(values, context)
            if kept is None:
                return expr
            known = self.lets[python] = (expr, kept)
        return ex.name(python) if known[0] is expr or ex.to_python(known[0]) == ex.to_python(expr) else expr

    @staticmethod
    def _constant(values: list[Any]) -> ast.Expr | None:
        if all(equal(v, values[0]) for v in values) and plain(values[0]):
            return ex.constant(values[0])
        return None

    def inlet_channels(self, scopes: list[Scope], context: Context) -> ast.Expr | None:
        """``in.channels``, where ``in`` is what flows into this class."""
        return ex.name("in_channels") if self.kind == "block" else None

    def parameter(self, spec: str) -> ast.Expr | None:
        """The constructor argument for a parameter of the block; for a network only if it is open."""
        values = [b.bindings[spec] for b in self.boundaries]
        if self.kind == "network" and spec not in self.file.open:
            return self._constant(values)
        name = self.python_name(spec)
        if name not in self.params:
            self.params[name] = Parameter(name, values, spec)
        return ex.name(name)

    def _capture_number(self, spec: str, values: list[Any], context: Context) -> ast.Expr | None:
        """A name from around a named body: an argument of the body's class."""
        if self.kind == "network":
            return self._constant(values)
        kept = self._per_instance(values, context)
        if kept is None:
            return None
        name = self.python_name(spec, f"outer {spec}")
        if name not in self.params:
            self.params[name] = Parameter(name, kept, spec)
        return ex.name(name)

    def value_in(self, name: str, context: Context, k: int) -> Any:
        """The value of a name of this class in one occurrence; None when it has none."""
        varied = context.variables.get(name)
        if varied is not None:
            return varied[k]
        owner = context.owners[k]
        if name == "in_channels" and self.boundaries[owner].inputs:
            shape = self.instances[owner].graph.shape(self.boundaries[owner].inputs[0])
            return shape.channels if shape is not None else None
        known = self.lets.get(name)
        if known is not None:
            return known[1][owner]
        param = self.params.get(name)
        return param.values[owner] if param is not None else None

    def evaluated(self, expr: ast.Expr, context: Context) -> list[Any]:
        """The value of an expression in every occurrence; None where it has none."""
        names = ex.names_in(expr)
        return [ex.evaluate(expr, {n: self.value_in(n, context, k) for n in names}) for k in range(len(context.occurrences))]

    def holds(self, expr: ast.Expr, values: Sequence[Any], context: Context) -> bool:
        """Whether an expression gives these values in every occurrence."""
        if isinstance(expr, ast.Number):
            return all(equal(expr.value, v) for v in values)
        if isinstance(expr, ast.Name):
            return all(equal(self.value_in(expr.id, context, k), v) for k, v in enumerate(values))
        return all(equal(made, v) for made, v in zip(self.evaluated(expr, context), values, strict=True))

    def express(self, values: Sequence[Any], expr: ast.Expr | None, context: Context, hint: str) -> ast.Expr | None:
        """Values as an expression of the class; None: a literal will do, since all are the same."""
        if expr is not None and self.carried & ex.names_in(expr) and all(equal(v, values[0]) for v in values):
            return None  # the number says more than a variable that a loop left behind
        if expr is not None and ex.has_names(expr) and self.holds(expr, values, context):
            return expr
        if all(equal(v, values[0]) for v in values):
            return None
        if self.kind == "network":
            raise Inexpressible(hint)
        kept = self._per_instance(list(values), context)
        if kept is None or any(not plain(v) for v in kept):
            raise Mismatch(hint)
        return ex.name(self._extra(hint, kept))

    def _extra(self, hint: str, values: list[Any]) -> str:
        """A constructor argument that the spec has no word for."""
        for param in self.params.values():
            if param.spec is None and param.hint == hint and equal(param.values, values):
                return param.name
        n = 1
        while f"extra {hint} {n}" in self.pythonic:
            n += 1
        name = self.python_name(hint, f"extra {hint} {n}")
        self.params[name] = Parameter(name, values, hint=hint)
        return name

    def print(self, expr: ast.Expr, context: Context, forward: bool = False) -> str:
        """Python text; the names in it count as used, and in ``forward`` they are attributes."""
        names = ex.names_in(expr)
        self.used |= names
        for function in ex.functions_in(expr):
            if function in ex.NEEDS:
                self.file.needs.add(ex.NEEDS[function])

        def whole(e: ast.Expr) -> bool:
            return all(isinstance(v, int) for v in self.evaluated(e, context))

        if forward:
            replaced = {n: ex.name(self.stored_name(n)) if n not in context.variables else ex.name(n) for n in names}
            text = ex.to_python(expr, whole)
            for n in sorted(names, key=len, reverse=True):
                text = re.sub(rf"(?<![\w.]){re.escape(n)}\b", replaced[n].id, text)
            return text
        return ex.to_python(expr, whole)

    def stored_name(self, name: str) -> str:
        """A constructor's name as ``forward`` reaches it."""
        self.stored.add(name)
        shown = attribute(name)
        while shown in self.attributes:
            shown += "_"
        return f"self.{shown}"

    def signature(self) -> list[Parameter]:
        """The constructor arguments in order: the input's channels, the block's parameters, then the rest; defaults last."""
        for name, (expr, _) in reversed(self.lets.items()):
            if name in self.used:
                self.used |= ex.names_in(expr)
        chosen = [p for p in self.params.values() if p.name in self.used or p.name in self.stored]
        order = {name: k for k, name in enumerate(self._declared())}
        first = [p for p in chosen if p.name == "in_channels" and p.spec is None]
        own = sorted((p for p in chosen if p.spec is not None), key=lambda p: order.get(p.spec or "", 10**6))
        rest = [p for p in chosen if p.spec is None and p not in first]
        plain_params: list[Parameter] = []
        with_default: list[Parameter] = []
        for p in own:
            self._find_default(p)
            (with_default if p.has_default else plain_params).append(p)
        return [*first, *plain_params, *rest, *with_default]

    def _declared(self) -> list[str]:
        scope = self.boundaries[0]
        if scope.kind == "block" and scope.block is not None:
            return [p.name for p in scope.block.params]
        if scope.kind == "network":
            return [p.name for p in scope.origin.params]
        return []

    def _find_default(self, param: Parameter) -> None:
        scope = self.boundaries[0]
        if param.has_default or scope.kind != "block" or scope.block is None:
            return
        for declared in scope.block.params:
            if declared.name == param.spec and isinstance(declared.default, ast.Number | ast.Boolean | ast.String):
                param.default, param.has_default = declared.default.value, True
