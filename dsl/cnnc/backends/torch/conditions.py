"""Conditions that instances of a class answer differently."""

from __future__ import annotations

import re

from cnnc.backends.torch import expressions as ex
from cnnc.backends.torch.instances import Instances
from cnnc.backends.torch.layout import WIDTH
from cnnc.backends.torch.names import variable
from cnnc.backends.torch.values import Context, Line, Mismatch, Value, translate
from cnnc.graph import Scope
from cnnc.syntax import ast


class Conditions(Instances):
    """Writes an ``if``."""

    def condition(self, inner: Context) -> None:
        """Write an ``if``: nothing of it remains where every instance takes the same side."""
        scopes = [o.scope for o in inner.occurrences]
        sides = {s.taken for s in scopes}
        if len(sides) == 1:
            self.items(inner)
            return
        if not any(s.items for s in scopes) and all(s.inputs and s.result == s.inputs[0] for s in scopes):
            return  # nothing but facts that are expected
        statement = scopes[0].origin
        truths = [s.taken == 0 for s in scopes]
        outer = [s.parent for s in scopes if s.parent is not None]
        expr = translate(statement.condition, outer, inner, self.resolve)
        said = self.express(truths, expr, inner, f"with_{self._first_name(scopes)}")
        assert said is not None
        groups = {side: [k for k, s in enumerate(scopes) if (s.taken == 0) is side] for side in (True, False)}
        branching = scopes[0].parent is not None and scopes[0].parent.kind == "branch"
        if branching and any(s.result is None for s in scopes):
            raise Mismatch("a branch is not always there")
        flag = self._flag(said, inner, scopes)
        parts: dict[bool, tuple[list[Line], list[Line], Value | None]] = {}
        inlet = self._inlets(inner)
        for value in inlet:
            self.settle(value)
        for value in list(self.pending.values()) if not self.chain else []:
            if value.variable is None and value.uses > 0:  # a line inside one side would be missing in the other
                self.settle(value)
        before_live = dict(self.live)
        before = [(v, v.uses) for v in dict.fromkeys(self.values.values())]
        left = {id(v): 0 for v, _ in before}
        for side, members in groups.items():
            parts[side] = self._side(inner, members)
            self.live = dict(before_live)
            for value, uses in before:
                left[id(value)] = max(left[id(value)], value.uses)
                value.uses = uses
            self.pending = {id(v): v for v, _ in before if v.variable is None}
        for value, _ in before:  # what is left for later, whichever side was taken
            value.uses = left[id(value)]
        self._write_sides(flag, parts)
        value = Value(self._shapes(inner), None, "x") if self.chain else self._join_sides(flag, parts, inner)
        value.channels = self._side_channels(parts, inner)
        for o in inner.occurrences:
            if o.scope.result is not None:
                self.values[(o.owner, o.scope.result)] = value
        self.last_statement = None

    def _side_channels(self, parts: dict[bool, tuple[list[Line], list[Line], Value | None]], inner: Context) -> ast.Expr | None:
        counts = [s.channels for s in self._shapes(inner)]
        for _, _, value in parts.values():
            made = value.known() if value is not None else None
            if made is not None and self.holds(made, counts, inner):
                return made
        return ex.number(counts[0]) if len(set(counts)) == 1 else None

    def _side(self, inner: Context, members: list[int]) -> tuple[list[Line], list[Line], Value | None]:
        """One side of a condition, written apart: constructor lines, forward lines, result."""
        chosen = [inner.occurrences[k] for k in members]
        variables = {n: [v[k] for k in members] for n, v in inner.variables.items()}
        there = Context(chosen, variables, inner.loops)
        kept_init, kept_lines = self.init, self.lines
        kept_names, kept_flags = set(self.registered), dict(self.flags)
        self.init, self.lines = [], []
        self.init_depth += 1
        self.depth += 1
        self.last_statement = None
        try:
            self.items(there)
            result = chosen[0].scope.result
            value = self.values.get((chosen[0].owner, result)) if result is not None else None
            return self.init, self.lines, value
        finally:
            self.init, self.lines = kept_init, kept_lines
            self.registered, self.flags = kept_names, kept_flags  # the other side may have a layer of the same name
            self.init_depth -= 1
            self.depth -= 1

    def _first_name(self, scopes: list[Scope]) -> str:
        for scope in scopes:
            for item in scope.items:
                path = self.instances[0].graph.nodes[item].path if isinstance(item, int) else item.path
                for o in self.instances:
                    if isinstance(item, int):
                        path = o.graph.nodes[item].path
                        break
                return variable(path.rpartition(".")[2])
        return "branch"

    def _flag(self, said: ast.Expr, inner: Context, scopes: list[Scope]) -> str:
        """The condition as text of the constructor; ``forward`` reads it as an attribute."""
        text = self.print(said, inner)
        if self.chain:
            return text
        if inner.variables and ex.names_in(said) & set(inner.variables):
            raise Mismatch("a condition depends on the turn of a loop")
        if isinstance(said, ast.Name):
            return self.stored_name(said.id)
        if text in self.flags:
            return self.flags[text]
        taken = next((s for s in scopes if s.items), None)
        if taken is None:
            raise Mismatch("a condition chooses between values that are there already")
        owner = next(o for o in inner.occurrences if o.scope is taken)
        item = taken.items[0]
        while isinstance(item, Scope) and item.kind in ("turn", "loop", "if", "merge", "branch") and item.items:
            item = item.items[0]
        path = owner.graph.nodes[item].path if isinstance(item, int) else item.path
        name = "has_" + variable(path.rpartition(".")[2])
        name = self._unregistered(name)
        self.registered.add(name)
        self.init_line(f"self.{name} = {text}")
        self.flags[text] = f"self.{name}"
        return f"self.{name}"

    def _write_sides(self, flag: str, parts: dict[bool, tuple[list[Line], list[Line], Value | None]]) -> None:
        then, other = parts[True][0], parts[False][0]
        if then:
            self.init_line(f"if {flag}:")
            self.init += then
            if other:
                self.init_line("else:")
                self.init += other
        elif other:
            self.init_line(f"if not {flag}:" if re.fullmatch(r"[\w.]+", flag) else f"if not ({flag}):")
            self.init += other

    def _join_sides(self, flag: str, parts: dict[bool, tuple[list[Line], list[Line], Value | None]], inner: Context) -> Value:
        then, other = parts[True], parts[False]
        if then[2] is None or other[2] is None:
            raise Mismatch("a side of a condition has no value")
        value = Value(self._shapes(inner))
        result = inner.occurrences[0].scope.result
        assert result is not None
        value.uses = max(self.reads(o.scope.result, self._only(inner, k)) for k, o in enumerate(inner.occurrences) if o.scope.result)
        a, b = then[2], other[2]
        if not then[1] and not other[1]:
            at, ap = self.use(a)
            bt, bp = self.use(b)
            text = f"{at} if {flag} else {bt}"
            if len(text) + 8 * self.depth + 24 <= WIDTH:
                value.text, value.probed, value.infix = text, f"{ap} if {flag} else {bp}", True
                self.materialise(value, self.branch)
                return value
            a.uses += 1
            b.uses += 1
        value.variable = self._free(value, self.branch)
        self.live[value.variable] = value
        self.emit(f"if {flag}:")
        self._finish_side(then[1], a, value.variable)
        else_at = len(self.lines)
        self.emit("else:")
        self._finish_side(other[1], b, value.variable)
        if len(self.lines) == else_at + 1:
            self.lines.pop()
        return value

    @staticmethod
    def _only(inner: Context, k: int) -> Context:
        return Context([inner.occurrences[k]], {n: [v[k]] for n, v in inner.variables.items()}, inner.loops)

    def _finish_side(self, lines: list[Line], value: Value, target: str) -> None:
        self.lines += lines
        self.depth += 1
        text, probed = self.use(value)
        if text != target:
            self.emit(f"{target} = {text}", f"{target} = {probed}")
        elif not lines:
            self.emit("pass")
        self.depth -= 1
